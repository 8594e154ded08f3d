"""Weather through a real broker as Event Hubs speaks: SASL, TLS, an index of timestamps, retention."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines import cli
from feature_pipelines.connections import connection
from feature_pipelines.environment import Environment
from feature_pipelines.landing import land
from feature_pipelines.replay import Replayed, partition_of, replay
from feature_pipelines.streams import kafka_client
from feature_pipelines.streams.kafka_client import Link
from feature_pipelines.streams.kafka_log import open_topic
from feature_pipelines.streams.log import NotOver, Span
from feature_pipelines.streams.offsets import read_offsets
from feature_pipelines.streams.retelling import Faults, messages
from spark_jobs.interval import Interval
from tests import oracle, oracle_events
from tests.feature_pipelines.streams.captured import (
    capture_env,
    capture_folder,
    lands,
    reading,
    record,
    rows,
    stream_env,
    weather_stream,
    write_file,
)
from tests.oracle_events import Message
from tests.services.kafka import Kafka, kafka
from tests.services.stack import or_skip

pytestmark = pytest.mark.cluster

WINDOW = Interval.parse("2013-01-01", "2013-01-03")
DAYS = [day.partition for day in WINDOW.days()]
FAULTS = Faults(late=0.2, doubled=0.2, broken=0.1, seed=7)
CANARY = "canary-s3cr3t"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with or_skip(kafka(tmp_path_factory.mktemp("kafka"))) as running:
        yield running


@pytest.fixture
def env(broker: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment with a topic of its own, which nobody has made yet."""
    login(broker, monkeypatch)
    return stream_env(
        tmp_path, {"kind": "events", "topic": f"weather-{uuid.uuid4().hex[:8]}", "bootstrap": broker.bootstrap}
    )


def login(broker: Kafka, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    extra = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"} | changes.pop("extra", {})
    told = {"conn_type": "kafka", "login": broker.user, "password": broker.password, "extra": extra} | changes
    monkeypatch.setenv("AIRFLOW_CONN_MY_FEAST_EVENTS", json.dumps(told))


def topic(env: Environment) -> str:
    return weather_stream(env).settings["topic"]


def replayed(env: Environment, window: Interval = WINDOW, faults: Faults = FAULTS, **options: Any) -> Replayed:
    settings: dict[str, Any] = {"speed": 0, "partitions": 3, "sleep": time.sleep, "progress": lambda *_: None}
    return replay(env, window, faults, **settings | options)


def sent(window: Interval, faults: Faults) -> list[Message]:
    return [(partition_of(each.key, 3), each.known_at, each.value) for each in messages(window, faults)]


def send(broker: Kafka, env: Environment, *told: tuple[int, datetime, bytes | None]) -> None:
    producer = Producer(broker.settings())
    for partition, stamp, value in told:
        producer.produce(topic(env), value, partition=partition, timestamp=round(stamp.timestamp() * 1000))
    assert producer.flush(20) == 0


def at(hours: float) -> datetime:
    return WINDOW.start + timedelta(hours=hours)


def test_two_days_landed_twice_are_identical_and_the_second_time_is_no_commit(env: Environment) -> None:
    report = replayed(env)
    assert report.sent == len(sent(WINDOW, FAULTS)) + 3 * len(DAYS)
    first = land(env, "weather", WINDOW)
    before = rows(env)
    assert before == oracle_events.raw(sent(WINDOW, FAULTS), DAYS)
    assert [day.rejected for day in first] == [oracle_events.rejected(sent(WINDOW, FAULTS), day) for day in DAYS]
    versions = [env.raw("weather").state().version, env.rejected("weather").state().version]
    assert not any(day.changed for day in land(env, "weather", WINDOW))
    assert [env.raw("weather").state().version, env.rejected("weather").state().version] == versions
    assert rows(env) == before


def test_on_time_readings_land_as_they_do_from_the_package(env: Environment) -> None:
    replayed(env, faults=Faults())
    assert [day.rejected for day in land(env, "weather", WINDOW)] == [0, 0]
    by_key = sorted(oracle.weather(DAYS), key=lambda row: (row["origin"], row["observed_at"]))
    assert rows(env) == by_key


def test_capture_gives_the_rows_that_the_protocol_gives(env: Environment, tmp_path: Path) -> None:
    replayed(env)
    captured = capture_env(tmp_path / "capture")
    with open_topic(Link.of(connection("my_feast_events"), env_address(env)), topic(env)) as log:
        for partition, bounds in log.bounds().items():
            for each in log.read(Span(partition, bounds.low, bounds.high)):
                properties = {"heartbeat": "1"} if each.is_heartbeat else {}
                told = record(each.offset, each.enqueued, each.value, **properties)
                write_file(
                    capture_folder(captured), partition, each.enqueued + timedelta(seconds=each.offset % 60), [told]
                )
    by_protocol, by_capture = land(env, "weather", WINDOW), land(captured, "weather", WINDOW)
    assert [day.build for day in by_protocol] == [day.build for day in by_capture]
    assert rows(env) == rows(captured)
    assert rows(env, "raw/weather_rejected") == rows(captured, "raw/weather_rejected")
    settled = [read_offsets(weather_stream(each).offsets, DAYS[0]) for each in (env, captured)]
    assert settled[0] is not None
    assert settled[1] is not None
    assert settled[0].spans == settled[1].spans


def env_address(env: Environment) -> str:
    return weather_stream(env).settings["bootstrap"]


def test_a_replay_that_was_cut_off_goes_on_where_it_ended(env: Environment) -> None:
    def stop(done: int, *_: object) -> None:
        if done == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replayed(env, progress=stop)
    whole = len(sent(WINDOW, FAULTS)) + 6
    rest = replayed(env)
    assert rest.present >= 50
    assert rest.sent + rest.present == whole
    assert replayed(env) == Replayed(topic(env), 0, whole)
    land(env, "weather", WINDOW)
    assert rows(env) == oracle_events.raw(sent(WINDOW, FAULTS), DAYS)


def test_days_are_replayed_one_after_another_and_never_backwards(env: Environment) -> None:
    first, second = WINDOW.days()
    replayed(env, first)
    replayed(env, second)
    assert replayed(env).sent == 0
    with pytest.raises(DataError, match="are not those of this replay"):
        replayed(env, first, Faults())
    with pytest.raises(DataError, match=r"holds \d+ records of .*, this replay has \d+, and records of later days"):
        replayed(env, first, Faults(doubled=1))
    land(env, "weather", WINDOW)
    assert rows(env) == oracle_events.raw(sent(WINDOW, FAULTS), DAYS)


def test_a_speed_is_seconds_of_the_readings_per_second(env: Environment) -> None:
    slept: list[float] = []
    replayed(env, WINDOW.days()[0], Faults(), speed=3600, sleep=slept.append)
    assert sum(slept) == pytest.approx(17 + 1 / 60)  # from 06:59 to midnight


def test_the_command_line_replays_and_lands(env: Environment, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_pipelines.environment.load", lambda: env)
    window = ["--start", "2013-01-01", "--end", "2013-01-03"]
    assert cli.main(["replay", *window, "--late", "0.1"]) == 0
    output, count = capsys.readouterr(), len(messages(WINDOW, Faults(late=0.1))) + 6
    assert output.out == f"{topic(env)}: {count} records sent, 0 were there already\n"
    assert f"{count} of {count}, 2013-01-03 00:00Z" in output.err
    assert cli.main(["land", "weather", *window]) == 0
    assert "records behind the stream's end (0: " in capsys.readouterr().out
    assert cli.main(["replay", *window, "--late", "2"]) == 2


def test_a_topic_that_stamps_by_itself_is_not_replayed_into_and_lands_by_the_clock(
    env: Environment, broker: Kafka
) -> None:
    broker.create_topic(topic(env), **{"message.timestamp.type": "LogAppendTime"})
    with pytest.raises(DataError, match=r"stamps records itself \(LogAppendTime\)"):
        replayed(env)
    send(broker, env, (0, at(1), reading("2013-01-01T00:00:00Z")), (1, at(1), b"poison"))
    today = Interval.day(datetime.now(UTC).date())
    with pytest.raises(NotOver, match=r"is not over before"):
        lands(env, today.partition)
    yesterday = Interval.day(today.start.date() - timedelta(days=1))
    report = lands(env, yesterday.partition)
    assert (report.rows, report.rejected, report.lag) == (0, 0, 2)


def test_a_day_whose_end_the_stream_has_not_passed_is_not_settled(env: Environment, broker: Kafka) -> None:
    broker.create_topic(topic(env))
    with pytest.raises(NotOver, match="nothing has been sent yet"):
        lands(env, DAYS[0])
    send(broker, env, (0, at(1), reading("2013-01-01T00:00:00Z")), (1, at(30), b"{}"))
    with pytest.raises(NotOver, match=r"partition 0 holds no record from its end or later"):
        lands(env, DAYS[0])
    send(broker, env, (0, at(24), b"{}"))
    assert (lands(env, DAYS[0]).rows, lands(env, DAYS[0]).lag) == (1, 2)


def test_transactions_are_landed_only_when_the_broker_stamps_the_records(env: Environment, broker: Kafka) -> None:
    broker.create_topic(topic(env), partitions=1)
    producer = Producer(broker.settings(**{"transactional.id": topic(env)}))
    producer.init_transactions(120)
    send_transaction(producer, env, 3, "abort")
    with open_topic(Link.of(connection("my_feast_events"), env_address(env)), topic(env)) as log:
        eventually(lambda: log.bounds()[0].high == 4)
        with pytest.raises(NotOver, match="nothing has been sent yet"):
            lands(env, DAYS[0])
        send_transaction(producer, env, 3, "commit")
        eventually(lambda: log.bounds()[0].high == 8)
        assert log.offsets_at(at(24)) == {0: 3}  # a mark, stamped today: no record of the next day is there
        with pytest.raises(DataError, match=r"sends them in transactions, whose marks \(here partition 0 offset 7\)"):
            lands(env, DAYS[0])
    assert not weather_stream(env).offsets.exists()


def test_transactions_that_the_broker_stamps_are_as_good_as_records(env: Environment, broker: Kafka) -> None:
    broker.create_topic(topic(env), partitions=1, **{"message.timestamp.type": "LogAppendTime"})
    producer = Producer(broker.settings(**{"transactional.id": topic(env)}))
    producer.init_transactions(120)
    send_transaction(producer, env, 3, "commit")
    with open_topic(Link.of(connection("my_feast_events"), env_address(env)), topic(env)) as log:
        eventually(lambda: log.bounds()[0].high == 4)
        assert log.is_stamped_by_broker() is True


def send_transaction(producer: Producer, env: Environment, records: int, end: str) -> None:
    producer.begin_transaction()
    for n in range(records):
        producer.produce(topic(env), b"{}", partition=0, timestamp=round(at(n).timestamp() * 1000))
    assert producer.flush(120) == 0
    producer.commit_transaction(120) if end == "commit" else producer.abort_transaction(120)


def test_a_topic_that_cannot_be_made_is_refused_for_good(env: Environment, broker: Kafka, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be made: .*Check the number of partitions"):
        replayed(env, partitions=0)
    settings = {"kind": "events", "topic": "bad name!", "bootstrap": broker.bootstrap}
    with pytest.raises(DataError, match=r"Check the topic's name in the environment's file"):
        replayed(stream_env(tmp_path / "bad", settings))


def test_a_partition_added_later_changes_nothing_that_was_settled(env: Environment, broker: Kafka) -> None:
    from confluent_kafka.admin import NewPartitions

    broker.create_topic(topic(env))
    send(
        broker,
        env,
        *((p, at(h), reading((at(h - 1)).isoformat(), origin=f"P{p}")) for p in (0, 1) for h in (1, 25)),
    )
    send(broker, env, *((p, at(49), b"{}") for p in (0, 1)))
    first = lands(env, DAYS[0])
    admin = broker.admin()
    (future,) = admin.create_partitions([NewPartitions(topic(env), 3)]).values()
    future.result(20)
    stamped = (2, at(2), reading("2013-01-01T01:00:00Z", origin="P2"))
    send(broker, env, stamped, (2, at(49), b"{}"))
    eventually(lambda: not lands(env, DAYS[0]).changed)
    assert lands(env, DAYS[0]).build == first.build
    assert lands(env, DAYS[1]).rows == 3
    assert {row["origin"]: row["known_at"] for row in rows(env)}["P2"] == at(24)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_records_that_the_broker_has_dropped_are_an_error_and_what_landed_stays(
    env: Environment, broker: Kafka
) -> None:
    replayed(env, faults=Faults())
    lands(env, DAYS[0])
    before = rows(env)
    admin = broker.admin()
    (future,) = admin.delete_records([TopicPartition(topic(env), partition_of("EWR", 3), 5)]).values()
    future.result(20)
    with pytest.raises(DataError, match=r"(?s)offsets 0 to \d+: the lowest offset that is still held is 5"):
        lands(env, DAYS[0])
    assert rows(env) == before
    assert lands(env, DAYS[1]).rows == 72


def test_a_topic_made_anew_is_told_until_it_is_accepted(env: Environment, broker: Kafka) -> None:
    replayed(env, faults=Faults())
    assert lands(env, DAYS[0]).rows == 52
    admin = broker.admin()
    (future,) = admin.delete_topics([topic(env)]).values()
    future.result(20)
    eventually(lambda: topic(env) not in broker.admin().list_topics(timeout=60).topics)
    replayed(env, faults=Faults(broken=0.5))
    with pytest.raises(DataError, match=r"found a topic of that name that was made anew"):
        lands(env, DAYS[0])
    assert len(rows(env)) == 52
    report = lands(env, DAYS[0], allow_shrink=True)
    assert report.rows + report.rejected == 52
    assert report.rejected > 10
    assert not lands(env, DAYS[0]).changed


def test_two_landings_at_once_settle_the_same_offsets(env: Environment) -> None:
    from concurrent.futures import ThreadPoolExecutor

    replayed(env)
    with ThreadPoolExecutor(4) as threads:
        fixed = list(threads.map(lambda _: settle(env), range(4)))
    assert len({str(settled) for settled in fixed}) == 1


def settle(env: Environment) -> object:
    while True:
        try:
            return weather_stream(env).fixed(WINDOW.days()[0]).settled
        except TransportError:  # another one committed in the same moment
            time.sleep(0.1)


def refusal(env: Environment, kind: type[Exception]) -> str:
    with pytest.raises(kind) as found:
        lands(env, DAYS[0])
    return str(found.value)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is waited for to the end takes much longer than a test may."""
    monkeypatch.setattr(kafka_client, "CONNECT_SECONDS", 3600)
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 600


def test_refused_logins_and_certificates_are_told_at_once(
    env: Environment, broker: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    replayed(env)
    login(broker, monkeypatch, password=CANARY)
    text = refusal(env, DataError)
    assert "connection my_feast_events" in text
    assert "Check its login and password" in text
    assert CANARY not in text
    login(broker, monkeypatch, extra={"sasl.mechanism": "SCRAM-SHA-256"})
    assert "Unsupported SASL mechanism" in refusal(env, DataError)
    settings = {"kind": "events", "topic": topic(env), "bootstrap": broker.bootstrap_tls}
    secured = stream_env(tmp_path / "tls", settings)
    login(broker, monkeypatch, extra={"security.protocol": "SASL_SSL"})
    assert "ssl.ca.location and the broker's certificate" in refusal(secured, DataError)
    login(broker, monkeypatch, extra={"security.protocol": "SASL_SSL", "ssl.ca.location": str(broker.ca)})
    assert lands(secured, DAYS[0]).rows > 0


def test_an_unreachable_broker_and_a_missing_topic_are_told_apart(
    env: Environment, broker: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Unknown topic or partition. Check the topic's name" in refusal(env, DataError)
    monkeypatch.setattr(kafka_client, "CONNECT_SECONDS", 2)
    away = stream_env(tmp_path / "away", {"kind": "events", "topic": "weather", "bootstrap": "127.0.0.1:1"})
    assert "Check bootstrap.servers" in refusal(away, TransportError)
    plain_to_tls = {"kind": "events", "topic": "weather", "bootstrap": broker.bootstrap_tls}
    assert "security.protocol" in refusal(stream_env(tmp_path / "plain", plain_to_tls), TransportError)


def test_the_topic_holds_the_messages_that_the_oracle_is_given(env: Environment) -> None:
    replayed(env)
    with open_topic(Link.of(connection("my_feast_events"), env_address(env)), topic(env)) as log:
        held = [
            (each.partition, each.enqueued, each.value)
            for partition, bounds in log.bounds().items()
            for each in log.read(Span(partition, bounds.low, bounds.high))
            if not each.is_heartbeat
        ]
    assert sorted(held, key=lambda each: each[0]) == sorted(sent(WINDOW, FAULTS), key=lambda each: each[0])
