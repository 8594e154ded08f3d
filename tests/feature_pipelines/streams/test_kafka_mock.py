"""The Kafka protocol against librdkafka's own mock cluster, which has neither login nor an index of timestamps."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from confluent_kafka import KafkaError, KafkaException, Producer

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.connection_text import Connection
from feature_pipelines.environment import Environment
from feature_pipelines.streams import kafka_client, kafka_log
from feature_pipelines.streams.kafka_client import Link, client_settings
from feature_pipelines.streams.kafka_log import KafkaLog, open_topic
from feature_pipelines.streams.log import HEARTBEAT, Bounds, Span
from feature_pipelines.streams.offsets import Settled, write_offsets
from spark_jobs.interval import Interval
from tests.feature_pipelines.streams.captured import lands, reading, rows, stream_env, weather_stream

DAY = Interval.day("2013-01-02")
CANARY = "canary-s3cr3t"


class Cluster:
    """A mock cluster inside a producer; it ends with it."""

    def __init__(self) -> None:
        self.producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        brokers = self.producer.list_topics(timeout=60).brokers.values()
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def send(self, partition: int, hours: float, value: bytes | None, **headers: bytes) -> None:
        stamp = round((DAY.start + timedelta(hours=hours)).timestamp() * 1000)
        told: dict[str, Any] = {"headers": headers} if headers else {}
        self.producer.produce("weather", value, partition=partition, timestamp=stamp, **told)
        assert self.producer.flush(10) == 0

    def link(self, **extra: str) -> Link:
        return Link.of(Connection("my_feast_events", extra=extra), self.address)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a broker that is not there."""
    monkeypatch.setattr(kafka_client, "CONNECT_SECONDS", 1.5)
    monkeypatch.setattr(kafka_client, "SLICE_SECONDS", 0.3)


def at(hours: float) -> datetime:
    return DAY.start + timedelta(hours=hours)


def test_a_span_is_read_record_by_record_with_its_stamps(cluster: Cluster) -> None:
    for n in range(30):
        cluster.send(0, n / 10, f"v{n}".encode())
    cluster.send(1, 5, None, **{HEARTBEAT: b"1"})
    with open_topic(cluster.link(), "weather") as log:
        found = list(log.read(Span(0, 3, 21)))
        assert [record.offset for record in found] == list(range(3, 21))
        assert [record.value for record in found] == [f"v{n}".encode() for n in range(3, 21)]
        assert [record.enqueued for record in found] == [at(n / 10) for n in range(3, 21)]
        assert list(log.read(Span(0, 30, 30))) == []
        (heartbeat,) = log.read(Span(1, 0, 1))
        assert (heartbeat.is_heartbeat, heartbeat.value, heartbeat.place) == (True, None, "partition 1 offset 0")
        assert [record.offset for record in log.read(Span(0, 29, 30))] == [29]
        assert {partition: log.bounds()[partition] for partition in (0, 1)} == {0: Bounds(0, 30), 1: Bounds(0, 1)}
        assert log.is_stamped_by_broker() is False


def test_records_beyond_the_end_are_an_error_and_never_no_rows(cluster: Cluster) -> None:
    for n in range(3):
        cluster.send(0, n, b"{}")
    with (
        open_topic(cluster.link(), "weather") as log,
        pytest.raises(DataError, match=r"partition 0 no longer holds offsets 3 to 8: .*reached end"),
    ):
        list(log.read(Span(0, 1, 9)))


def test_settled_offsets_are_read_and_nothing_else(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MY_FEAST_EVENTS", json.dumps({"conn_type": "kafka"}))
    for n in range(6):
        cluster.send(n % 2, n + 1, reading(f"2013-01-02T{n:02}:00:00Z", temp=n))
    env = stream_env(tmp_path, {"kind": "events", "topic": "weather", "bootstrap": cluster.address})
    spans = (Span(0, 1, 3), Span(1, 0, 2))
    write_offsets(weather_stream(env).offsets, DAY.partition, Settled("weather", None, spans))
    report = lands(env, DAY.partition)
    assert (report.rows, report.changed, report.lag, report.lag_by_partition) == (4, True, 1, "0: 0, 1: 1")
    assert [row["temp"] for row in rows(env)] == [1.0, 2.0, 3.0, 4.0]
    cluster.send(0, 7, reading("2013-01-02T06:00:00Z"))
    again = lands(env, DAY.partition)
    assert (again.changed, again.version, again.lag) == (False, report.version, 2)


def test_a_broker_that_is_not_there_is_told_in_seconds(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "kafka", "password": CANARY, "extra": {"sasl.password": CANARY}}
    monkeypatch.setenv("AIRFLOW_CONN_MY_FEAST_EVENTS", json.dumps(connection))
    env = stream_env(tmp_path, {"kind": "events", "topic": "weather", "bootstrap": "127.0.0.1:1"})
    started = time.monotonic()
    with pytest.raises(
        TransportError, match=r"connection my_feast_events \(127.0.0.1:1\): .* Check bootstrap.servers"
    ) as told:
        lands(env, DAY.partition)
    assert time.monotonic() - started < 60
    assert CANARY not in str(told.value)
    assert not env.raw("weather").exists()


def test_a_broker_that_dies_before_it_is_read_is_an_outage(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(kafka_log, "SILENCE_SECONDS", 2.0)
    cluster.send(0, 1, b"{}")
    with open_topic(cluster.link(), "weather") as log:
        assert log.bounds()[0].high == 1
        del cluster.producer
        with pytest.raises(TransportError, match=r"partition 0 sent nothing for 2 s at offset 0"):
            list(log.read(Span(0, 0, 1)))


def test_a_pause_of_the_reader_is_not_the_brokers_silence(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_log, "SILENCE_SECONDS", 5.0)
    monkeypatch.setattr(kafka_log, "FETCH_RECORDS", 1)
    for n in range(3):
        cluster.send(0, n, b"{}")
    found = []
    with open_topic(cluster.link(), "weather") as log:
        for record in log.read(Span(0, 0, 3)):
            found.append(record.offset)
            time.sleep(5.5 if record.offset == 1 else 0)
    assert found == [0, 1, 2]


class Admin:
    """Answers of a broker that the mock cannot give, one after another; the last one for ever."""

    answers: list[str | int]

    def __init__(self, _: dict[str, Any]) -> None:
        pass

    def describe_topics(self, _: Any, **__: Any) -> dict[str, Future[Any]]:
        future: Future[Any] = Future()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            future.set_result(SimpleNamespace(topic_id=answer))
        else:
            future.set_exception(KafkaException(KafkaError(answer)))
        return {"weather": future}

    def poll(self, _: float) -> None:
        pass


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["nPXT9OhzQUCV+LBXYlYoUQ"], "nPXT9OhzQUCV+LBXYlYoUQ"),
        ([KafkaError._TRANSPORT, KafkaError._TIMED_OUT, "nPXT9OhzQUCV+LBXYlYoUQ"], "nPXT9OhzQUCV+LBXYlYoUQ"),
        (["A" * 22], None),
        ([KafkaError.UNSUPPORTED_VERSION], None),
        ([KafkaError._UNSUPPORTED_FEATURE], None),
        ([KafkaError._TIMED_OUT], TransportError),
        ([KafkaError.TOPIC_AUTHORIZATION_FAILED], DataError),
    ],
)
def test_a_topic_has_no_id_only_when_the_broker_says_so(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, quick: None, answers: list[str | int], expected: Any
) -> None:
    monkeypatch.setattr(Admin, "answers", [*answers], raising=False)
    monkeypatch.setattr(kafka_log, "AdminClient", Admin)
    told = SimpleNamespace(controller_id=0, brokers={0: None}, topics={"weather": SimpleNamespace(error=None)})
    consumer: Any = SimpleNamespace(list_topics=lambda *_, **__: told)
    log = KafkaLog(cluster.link(), "weather", consumer)
    if isinstance(expected, type):
        with pytest.raises(expected, match="the id of topic weather cannot be read"):
            str(log.identity)
    else:
        assert log.identity == expected


def test_a_cluster_without_a_controller_gives_no_ids(cluster: Cluster) -> None:
    cluster.send(0, 1, b"{}")
    with open_topic(cluster.link(), "weather") as log:
        assert log.identity is None


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"no.such": "1"}, r'its settings are refused: No such configuration property: "no.such". Check the names'),
        ({"security.protocol": "PIGEON"}, 'Invalid value "PIGEON"'),
        ({"ssl.ca.location": "/nowhere.pem", "security.protocol": "SSL"}, "ssl.ca.location failed"),
    ],
)
def test_settings_that_librdkafka_does_not_take_are_told(extra: dict[str, str], told: str) -> None:
    link = Link.of(Connection("my_feast_events", extra=extra), "127.0.0.1:1")
    with pytest.raises(DataError, match=told), open_topic(link, "weather"):
        pass


def test_settings_come_from_the_connection_and_the_address_from_the_environment() -> None:
    extra = {"bootstrap.servers": "one:1", "security.protocol": "SASL_SSL", "group.id": "g", "auth": "ignored"}
    hub = Connection("my_feast_events", login="$ConnectionString", password=CANARY, extra=extra)
    expected = {
        "bootstrap.servers": "two:2",
        "security.protocol": "SASL_SSL",
        "group.id": "g",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "$ConnectionString",
        "sasl.password": CANARY,
    }
    assert client_settings(hub, "two:2") == expected
    assert client_settings(hub, None)["bootstrap.servers"] == "one:1"
    assert client_settings(Connection("c", host="ns.servicebus.windows.net"), None) == {
        "bootstrap.servers": "ns.servicebus.windows.net:9093"
    }
    with pytest.raises(DataError, match=r"connection c: expected bootstrap.servers in its extra"):
        client_settings(Connection("c"), None)
    assert CANARY not in repr(Link.of(hub, None))


def test_connections_do_not_idle_until_a_network_drops_them() -> None:
    settings = Link.of(Connection("my_feast_events"), "127.0.0.1:1").client(dict)
    assert (settings["connections.max.idle.ms"], settings["socket.keepalive.enable"]) == (180_000, True)
    assert 2 * settings["socket.timeout.ms"] / 1000 <= kafka_client.CONNECT_SECONDS
    impatient = Connection("my_feast_events", extra={"connections.max.idle.ms": "60000"})
    assert Link.of(impatient, "127.0.0.1:1").client(dict)["connections.max.idle.ms"] == "60000"


def test_a_login_that_nobody_answered_is_no_refusal() -> None:
    link = Link.of(Connection("my_feast_events"), "127.0.0.1:1")
    text = "SASL PLAIN mechanism handshake failed: Local: Timed out: broker's supported mechanisms: (n/a)"
    assert isinstance(link.error(KafkaError(KafkaError._AUTHENTICATION, text), "it cannot be read"), TransportError)
    refused = "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism"
    assert isinstance(link.error(KafkaError(KafkaError._AUTHENTICATION, refused), "it cannot be read"), DataError)


def test_without_a_login_tokens_of_the_identity_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    refusals: list[str] = []

    class Credential:
        def get_token(self, scope: str) -> Any:
            asked.append(scope)
            if refusals:
                raise ClientAuthenticationError(refusals[-1])
            return type("Token", (), {"token": f"jwt {len(asked)}", "expires_on": 1_900_000_000})

    monkeypatch.setattr("feature_pipelines.streams.tokens.token_credential", lambda _: Credential())
    extra = {"security.protocol": "SASL_SSL"}
    settings = client_settings(Connection("my_feast_events", extra=extra), "ns.servicebus.windows.net:9093")
    assert settings["sasl.mechanism"] == "OAUTHBEARER"
    assert settings["oauth_cb"]("") == ("jwt 2", 1_900_000_000.0)
    assert set(asked) == {"https://ns.servicebus.windows.net/.default"}
    refusals.append("AADSTS7000215: Invalid client secret provided.")
    assert settings["oauth_cb"]("") == ("jwt 2", 1_900_000_000.0)
    with pytest.raises(DataError, match=r"connection my_feast_events: Microsoft Entra gave no token .*AADSTS7000215"):
        client_settings(Connection("my_feast_events", extra=extra), "ns.servicebus.windows.net:9093")
    refusals.append("the server timed out")
    with pytest.raises(TransportError, match="timed out"):
        client_settings(Connection("my_feast_events", extra=extra), "ns.servicebus.windows.net:9093")


@pytest.fixture
def token_server() -> Iterator[str]:
    """A token endpoint that knows nobody."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b'{"error": "invalid_client", "error_description": "wrong secret"}'
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/token"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_refused_identity_is_told_and_a_silent_token_server_may_be_asked_again(
    cluster: Cluster, token_server: str, quick: None
) -> None:
    for url, kind, told in (
        (token_server, DataError, "Check its login"),
        ("http://127.0.0.1:1/", TransportError, "connect"),
    ):
        extra = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": "feast",
            "sasl.oauthbearer.client.secret": CANARY,
            "sasl.oauthbearer.token.endpoint.url": url,
        }
        with pytest.raises(kind, match=told) as found, open_topic(cluster.link(**extra), "weather") as log:
            log.bounds()
        assert CANARY not in str(found.value)


def test_a_connection_that_nobody_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_MY_FEAST_EVENTS", raising=False)
    env: Environment = stream_env(tmp_path, {"kind": "events", "topic": "weather", "bootstrap": "127.0.0.1:1"})
    with pytest.raises(DataError, match="connection my_feast_events: not found"):
        lands(env, DAY.partition)
