"""Replay: the packaged weather readings sent to the event stream, each stamped with the time it became known."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs forget to export them
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from feast_lakehouse.errors import DataError
from feature_pipelines.connections import connection
from feature_pipelines.sources import source
from feature_pipelines.streams.kafka_client import Link
from feature_pipelines.streams.kafka_log import KafkaLog, open_topic
from feature_pipelines.streams.log import HEARTBEAT
from feature_pipelines.streams.retelling import WEATHER, Faults, Message, messages
from feature_pipelines.streams.source import CONNECTION, StreamSource

if TYPE_CHECKING:
    from feature_pipelines.environment import Environment
    from spark_jobs.interval import Interval

TOPIC_SETTINGS: Final = {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "retention.bytes": "-1"}
"""The records keep the time at which a reading became known, and stay."""

ADMIN_SECONDS: Final = 15.0
TICK: Final = timedelta(milliseconds=1)
Sleep = Callable[[float], None]


class NotAStream(ValueError):
    """In this environment the weather does not come from an event stream that can be sent to."""


@dataclass(frozen=True)
class Replayed:
    """Records sent, and those that the topic had already: an interrupted replay goes on where it ended."""

    topic: str
    sent: int
    present: int


@dataclass(frozen=True, order=True)
class _Send:
    """A record to send; a heartbeat has no value."""

    stamp: datetime
    partition: int
    message: Message | None = None


@dataclass
class _Sender:
    """A producer that stops at the first record that was not taken."""

    link: Link
    topic: str
    failure: KafkaError | None = None
    producer: Producer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        own = {"enable_idempotence": True, "linger_ms": 20, "message_timeout_ms": 30_000}
        self.producer = self.link.client(Producer, **own)

    def send(self, record: _Send) -> None:
        told = record.message
        stamp = round(record.stamp.timestamp() * 1000)
        content: dict[str, Any] = {"key": told.key, "value": told.value} if told else {"headers": {HEARTBEAT: b"1"}}
        while True:
            try:
                self.producer.produce(
                    self.topic, partition=record.partition, timestamp=stamp, on_delivery=self._taken, **content
                )
            except BufferError:
                self.serve(0.1)
            else:
                self.serve(0)
                return

    def flush(self) -> None:
        """Returns when every record was taken."""
        while self.producer.flush(0.5):
            self.serve(0)
        self.serve(0)

    def serve(self, seconds: float) -> None:
        self.producer.poll(seconds)
        self.link.raise_refusal(f"topic {self.topic} cannot be written")
        if self.failure is not None:
            raise self.link.error(self.failure, f"topic {self.topic} cannot be written")

    def _taken(self, error: KafkaError | None, _: object) -> None:
        self.failure = self.failure or error


def replay(
    env: Environment,
    interval: Interval,
    faults: Faults,
    *,
    speed: float,
    partitions: int,
    sleep: Sleep,
    progress: Callable[[int, int, datetime], None],
) -> Replayed:
    """Sends what became known in whole UTC days, in this order, then a heartbeat to every partition at each day's end.

    `speed`: seconds of the readings per second of the clock, 0 = as fast as possible. The topic is made if there is
    none. Raises DataError when the topic holds later days, other records, or stamps records itself.
    """
    stream = source(env, WEATHER)
    if not isinstance(stream, StreamSource) or stream.settings["kind"] != "events":
        raise NotAStream(f"environment {env.name}: {WEATHER} is no event stream there, nothing can be sent to it")
    topic = stream.settings["topic"]
    link = Link.of(connection(stream.settings.get("connection", CONNECTION)), stream.settings.get("bootstrap"))
    make_topic(link, topic, partitions)
    with open_topic(link, topic) as log:
        count = len(log.partitions())
        records = list(_records(interval, faults, count))
        present = _present(log, interval, records)
    missing = list(_missing(records, present))
    sender = _Sender(link, topic)
    for done, record in enumerate(missing):
        _wait(sender, (record.stamp - missing[done - 1].stamp if done else timedelta()), speed, sleep)
        if record.message is None:
            sender.flush()  # nothing of a day may come after its heartbeat
        sender.send(record)
        progress(done + 1, len(missing), record.stamp)
    sender.flush()
    return Replayed(topic, len(missing), len(records) - len(missing))


def partition_of(key: str, partitions: int) -> int:
    """An airport's readings stay in one partition."""
    return zlib.crc32(key.encode()) % partitions


def _records(interval: Interval, faults: Faults, partitions: int) -> Iterator[_Send]:
    told = messages(interval, faults)
    for day in interval.days():
        for message in (each for each in told if day.contains(each.known_at)):
            yield _Send(message.known_at, partition_of(message.key, partitions), message)
        yield from (_Send(day.end, partition) for partition in range(partitions))


def _present(log: KafkaLog, interval: Interval, records: list[_Send]) -> Mapping[int, int]:
    """Partition -> how many of its first records the topic has. Another replay's records are refused."""
    bounds = log.bounds()
    # A heartbeat at the beginning belongs to the day before, the one at the end to these days.
    begins, ends = log.offsets_at(interval.start + TICK), log.offsets_at(interval.end + TICK)
    present = {}
    for partition, held in bounds.items():
        first, end = (held.high if found is None else found for found in (begins[partition], ends[partition]))
        wanted = sum(record.partition == partition for record in records)
        present[partition] = end - first
        if end - first > wanted or (end - first < wanted and ends[partition] is not None):
            raise DataError(
                f"{log.name}: partition {partition} holds {end - first} records of {interval}, this replay has {wanted}"
                f"{', and records of later days are there' if ends[partition] is not None else ''}. A stream goes forward only: "
                "replay later days, with the same shares and seed as before, or delete the topic."
            )
    return present


def _missing(records: list[_Send], present: Mapping[int, int]) -> Iterator[_Send]:
    seen = dict.fromkeys(present, 0)
    for record in records:
        seen[record.partition] += 1
        if seen[record.partition] > present[record.partition]:
            yield record


def _wait(sender: _Sender, gap: timedelta, speed: float, sleep: Sleep) -> None:
    seconds = gap.total_seconds() / speed if speed else 0.0
    while seconds > 0:
        sleep(min(seconds, 1.0))
        seconds -= 1.0
        sender.serve(0)


def make_topic(link: Link, topic: str, partitions: int) -> None:
    """A topic that keeps the producer's stamps, for ever; one that is there must keep them too."""
    admin = link.client(AdminClient)
    found = link.patiently(
        lambda seconds: admin.list_topics(topic, timeout=seconds),
        lambda: admin.poll(0),
        what="the cluster cannot be asked",
    )
    if found.topics[topic].error is None:
        _require_create_time(link, admin, topic)
        return
    new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=TOPIC_SETTINGS)
    (future,) = admin.create_topics([new], operation_timeout=ADMIN_SECONDS).values()
    try:
        future.result(ADMIN_SECONDS)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise link.error(error.args[0], f"topic {topic} cannot be made") from None


def _require_create_time(link: Link, admin: AdminClient, topic: str) -> None:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    (future,) = admin.describe_configs([resource], request_timeout=ADMIN_SECONDS).values()
    try:
        kept = future.result(ADMIN_SECONDS)["message.timestamp.type"].value
    except (KafkaException, TimeoutError, KeyError):
        return  # it does not tell; landing will see how its records are stamped
    if kept != "CreateTime":
        raise DataError(
            f"{link.connection}: topic {topic} stamps records itself ({kept}), so the past cannot be replayed into it. Choose another "
            "topic, or set message.timestamp.type of this one to CreateTime."
        )
