"""Sending to a topic of Event Hubs or Kafka, and making one that keeps the producer's stamps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs forget to export them
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from feast_lakehouse.errors import DataError
from feature_pipelines.streams.kafka_client import Link
from feature_pipelines.streams.log import HEARTBEAT
from feature_pipelines.streams.retelling import Message

TOPIC_SETTINGS: Final = {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "retention.bytes": "-1"}
"""The records keep the time at which a reading became known, and stay."""

ADMIN_SECONDS: Final = 15.0


@dataclass(frozen=True, order=True)
class ToSend:
    """A record to send; a heartbeat has no value."""

    stamp: datetime
    partition: int
    message: Message | None = None


@dataclass
class Sender:
    """A producer that stops at the first record that was not taken."""

    link: Link
    topic: str
    failure: KafkaError | None = None
    producer: Producer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        own = {"enable_idempotence": True, "linger_ms": 20, "message_timeout_ms": 30_000}
        self.producer = self.link.client(Producer, **own)

    def send(self, record: ToSend) -> None:
        """Hands the record over; `flush` tells whether it was taken. Raises what a record before it failed with."""
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
        """Lets librdkafka tell what became of records; raises DataError or TransportError for one that was not taken."""
        self.producer.poll(seconds)
        self.link.raise_refusal(f"topic {self.topic} cannot be written")
        if self.failure is not None:
            raise self.link.error(self.failure, f"topic {self.topic} cannot be written")

    def _taken(self, error: KafkaError | None, _: object) -> None:
        self.failure = self.failure or error


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
