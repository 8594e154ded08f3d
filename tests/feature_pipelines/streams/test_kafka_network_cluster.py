"""A real broker behind a network that is slow, or drops connections without a word."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from feast_lakehouse.errors import DataError
from feature_pipelines.connections import connection
from feature_pipelines.streams import kafka_client
from feature_pipelines.streams.kafka_client import Link
from feature_pipelines.streams.kafka_log import open_topic
from feature_pipelines.streams.log import Bounds
from spark_jobs.interval import Interval
from tests.feature_pipelines.streams.captured import lands, reading, rows, stream_env
from tests.feature_pipelines.streams.relay import Relay, relay
from tests.services import kafka as service
from tests.services.kafka import Kafka, kafka
from tests.services.stack import or_skip

pytestmark = pytest.mark.cluster

DAY = Interval.day("2013-01-02")


@pytest.fixture(scope="module")
def network() -> Iterator[Relay]:
    with relay() as found:
        yield found


@pytest.fixture(scope="module")
def broker(network: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """It tells its clients the relay's address as its own."""
    settings = service._settings

    def advertised(folder: Path, ports: list[int], *more: Any) -> str:
        network.target = ports[0]
        text, own = settings(folder, ports, *more), "advertised.listeners=SASL_PLAINTEXT://127.0.0.1"
        return text.replace(f"{own}:{ports[0]}", f"{own}:{network.port}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "_settings", advertised)
        with or_skip(kafka(tmp_path_factory.mktemp("kafka"))) as running:
            yield running


@pytest.fixture
def address(network: Relay, broker: Kafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    extra = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
    told = {"conn_type": "kafka", "login": broker.user, "password": broker.password, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_MY_FEAST_EVENTS", json.dumps(told))
    yield f"127.0.0.1:{network.port}"
    network.connects_after = network.answers_after = 0.0


@pytest.fixture
def topic(broker: Kafka) -> str:
    """Empty, of one partition."""
    name = f"weather-{uuid.uuid4().hex[:8]}"
    broker.create_topic(name, partitions=1)
    return name


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested is whether an answer is heard at all, however busy the machine is."""
    monkeypatch.setattr(kafka_client, "CONNECT_SECONDS", 120)


def link(address: str) -> Link:
    return Link.of(connection("my_feast_events"), address)


def send(broker: Kafka, topic: str, *told: tuple[datetime, bytes]) -> None:
    producer = Producer(broker.settings())
    for stamp, value in told:
        producer.produce(topic, value, partition=0, timestamp=round(stamp.timestamp() * 1000))
    assert producer.flush(120) == 0


def at(hours: float) -> datetime:
    return DAY.start + timedelta(hours=hours)


def test_a_topic_made_anew_is_told_however_long_its_id_takes(
    network: Relay, broker: Kafka, address: str, topic: str, tmp_path: Path, patient: None
) -> None:
    env = stream_env(tmp_path, {"kind": "events", "topic": topic, "bootstrap": address})
    end = (at(24), b"{}")
    send(broker, topic, (at(1), reading("2013-01-02T00:00:00Z", temp=1)), end)
    lands(env, DAY.partition)
    admin = broker.admin()
    (future,) = admin.delete_topics([topic]).values()
    future.result(120)
    deadline = time.monotonic() + 300
    while topic in broker.admin().list_topics(timeout=60).topics:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    broker.create_topic(topic, partitions=1)
    send(broker, topic, (at(1), reading("2013-01-02T00:00:00Z", temp=77)), end)
    network.connects_after = 3.5
    with pytest.raises(DataError, match="found a topic of that name that was made anew"):
        lands(env, DAY.partition)
    assert [row["temp"] for row in rows(env)] == [1.0]


def test_a_connection_that_was_dropped_without_a_word_is_made_again(
    network: Relay, broker: Kafka, address: str, topic: str
) -> None:
    send(broker, topic, (at(1), b"{}"))
    with open_topic(link(address), topic) as log:
        before = log.bounds()
        network.drop()
        assert log.bounds() == before


def test_a_broker_whose_every_answer_is_slow_is_heard(
    network: Relay, broker: Kafka, address: str, topic: str, patient: None
) -> None:
    send(broker, topic, (at(1), b"{}"))
    with open_topic(link(address), topic) as log:
        network.answers_after = 0.7  # of which the login needs four
        assert log.bounds() == {0: Bounds(0, 1)}
        assert log.offsets_at(at(1)) == {0: 0}
        assert log.identity is not None
