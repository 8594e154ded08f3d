"""A topic of Event Hubs or Kafka as a log, read partition by partition without a consumer group's offsets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.streams.kafka_client import Link
from feature_pipelines.streams.log import HEARTBEAT, Bounds, Record, Span

SILENCE_SECONDS: Final = 30.0
"""A broker that sends nothing for so long while records are due cannot be read."""

ADMIN_SECONDS: Final = 3.0
FETCH_RECORDS: Final = 5_000
_NO_ID: Final = "A" * 22  # base64 of zeros: the broker gives topics no id
_READING: Final[Mapping[str, Any]] = {
    "enable_auto_commit": False,
    "enable_partition_eof": True,
    "auto_offset_reset": "error",
    # A broker with nothing new holds a fetch back so long, and the next partition's behind it.
    "fetch_wait_max_ms": 50,
}


@dataclass(frozen=True)
class KafkaLog:
    """One topic, over one consumer; see `open_topic`."""

    link: Link
    topic: str
    consumer: Consumer
    settles_after: timedelta = timedelta(seconds=30)

    @property
    def name(self) -> str:
        """Topic and connection."""
        return f"topic {self.topic} of {self.link.connection}"

    @property
    def identity(self) -> str | None:
        """The topic id that a broker gives since Kafka 2.8; Event Hubs has none."""
        admin = self.link.client(AdminClient)
        (future,) = admin.describe_topics(TopicCollection([self.topic]), request_timeout=ADMIN_SECONDS).values()
        try:
            found = str(future.result(ADMIN_SECONDS).topic_id)
        except (KafkaException, TimeoutError):
            return None
        return None if found == _NO_ID else found

    def partitions(self) -> list[int]:
        """Sorted. Raises DataError when there is no such topic."""
        what = f"topic {self.topic} cannot be looked at"
        found = self._ask(lambda seconds: self.consumer.list_topics(self.topic, timeout=seconds), what)
        topic = found.topics[self.topic]
        if topic.error is not None:
            raise self.link.error(topic.error, what)
        return sorted(topic.partitions)

    def bounds(self) -> dict[int, Bounds]:
        """From the broker, partition by partition."""
        return {partition: self._bounds(partition) for partition in self.partitions()}

    def _bounds(self, partition: int) -> Bounds:
        where = TopicPartition(self.topic, partition)
        low, high = self._ask(
            lambda seconds: self.consumer.get_watermark_offsets(where, timeout=seconds), "its offsets cannot be read"
        )
        return Bounds(low, high)

    def offsets_at(self, instant: datetime) -> dict[int, int | None]:
        """From the broker's index of timestamps."""
        stamp = round(instant.timestamp() * 1000)
        wanted = [TopicPartition(self.topic, partition, stamp) for partition in self.partitions()]
        found = self._ask(
            lambda seconds: self.consumer.offsets_for_times(wanted, timeout=seconds), "its offsets cannot be read"
        )
        for each in found:
            if each.error:
                raise self.link.error(each.error, f"partition {each.partition} cannot be read")
        return {each.partition: each.offset if each.offset >= 0 else None for each in found}

    def is_stamped_by_broker(self) -> bool | None:
        """What the newest records say; a log whose records are all dropped has a retention, as the real hub has."""
        bounds = self.bounds()
        for partition, held in bounds.items():
            if held.high > held.low:
                for message in self._messages(partition, held.high - 1, held.high):
                    return bool(message.timestamp()[0] != TIMESTAMP_CREATE_TIME)
        return True if any(held.high for held in bounds.values()) else None

    def read(self, span: Span) -> Iterator[Record]:
        """From the broker, by offset."""
        for message in self._messages(span.partition, span.first, span.end):
            kind, stamp = message.timestamp()
            offset, headers = int(message.offset() or 0), message.headers() or []
            if kind == TIMESTAMP_NOT_AVAILABLE:
                raise DataError(f"{self.name}: partition {span.partition} offset {offset} has no timestamp")
            enqueued = datetime.fromtimestamp(stamp // 1000, UTC) + timedelta(milliseconds=stamp % 1000)
            is_heartbeat = HEARTBEAT in dict(headers)
            value = message.value()
            yield Record(
                span.partition, offset, enqueued, None if value is None else bytes(value), is_heartbeat=is_heartbeat
            )

    def _messages(self, partition: int, first: int, end: int) -> Iterator[Message]:
        """Messages with first <= offset < end, each once. Offsets of transaction marks and compacted records are skipped."""
        if first >= end:
            return
        self.consumer.assign([TopicPartition(self.topic, partition, first)])
        following, heard = first, time.monotonic()
        while following < end:
            for message in self.consumer.consume(min(FETCH_RECORDS, end - following), timeout=1.0):
                if message.partition() != partition:
                    continue  # of the partition that was read before
                heard = time.monotonic()
                error, offset = message.error(), int(message.offset() or 0)
                if error is not None:
                    following = self._after_error(error, partition, max(offset, following), end)
                elif following <= offset < end:
                    following = offset + 1
                    yield message
                elif offset >= end:
                    following = end
            self.link.raise_refusal("the topic cannot be read")
            if time.monotonic() - heard > SILENCE_SECONDS:
                raise TransportError(
                    f"{self.name}: partition {partition} sent nothing for {SILENCE_SECONDS:.0f} s at offset {following}"
                    f"{f': {self.link.heard.str()}' if self.link.heard else ''}"
                )
        self.consumer.unassign()

    def _after_error(self, error: KafkaError, partition: int, offset: int, end: int) -> int:
        is_end = error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's name
        if is_end and offset >= end:
            return end
        if is_end and self._bounds(partition).high >= end:
            raise TransportError(
                f"{self.name}: partition {partition} has a transaction that has not ended at offset {offset}, so records up "
                f"to {end - 1} cannot be read yet"
            )
        if is_end or error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            raise DataError(
                f"{self.name}: partition {partition} no longer holds offsets {offset} to {end - 1}: {error.str()}"
            )
        raise self.link.error(error, f"partition {partition} cannot be read at offset {offset}")

    def _ask(self, call: Any, what: str) -> Any:
        return self.link.patiently(call, lambda: self.consumer.poll(0), what=what)


@contextlib.contextmanager
def open_topic(link: Link, topic: str) -> Iterator[KafkaLog]:
    """The topic, until the block ends. The consumer group's name is needed by the protocol; nothing is kept in it."""
    group = str(link.settings.get("group.id", "my-feast"))
    consumer = link.client(Consumer, group_id=group, **_READING)
    try:
        yield KafkaLog(link, topic, consumer)
    finally:
        consumer.close()
