"""A topic of Event Hubs or Kafka as a log, read partition by partition without a consumer group's offsets."""

from __future__ import annotations

import contextlib
import time
from collections import deque
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
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]  # its stubs forget one

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.streams.kafka_client import Link
from feature_pipelines.streams.log import HEARTBEAT, Bounds, Record, Span

SILENCE_SECONDS: Final = 30.0
"""A broker that sends nothing for so long while records are due cannot be read."""

FETCH_RECORDS: Final = 5_000
_NO_ID: Final = "A" * 22  # base64 of zeros: the broker gives topics no id
_UNSUPPORTED: Final = frozenset({KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION})  # noqa: SLF001
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
        """The topic id that a broker gives since Kafka 2.8; Event Hubs has none. Silence is no answer: it is raised."""
        cluster = self._cluster()
        # Only a controller tells ids, and librdkafka's mock has none. One that is not known now (-1) is asked for.
        if cluster.controller_id >= 0 and cluster.controller_id not in cluster.brokers:
            return None
        admin = self.link.client(AdminClient)

        def ask(seconds: float) -> str:
            (future,) = admin.describe_topics(TopicCollection([self.topic]), request_timeout=seconds).values()
            try:
                return str(future.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() in _UNSUPPORTED:
                    return _NO_ID
                raise

        found = self.link.patiently(ask, lambda: admin.poll(0), what=f"the id of topic {self.topic} cannot be read")
        return None if found == _NO_ID else found

    def partitions(self) -> list[int]:
        """Sorted. Raises DataError when there is no such topic."""
        return sorted(self._cluster().topics[self.topic].partitions)

    def _cluster(self) -> ClusterMetadata:
        what = f"topic {self.topic} cannot be looked at"
        found: ClusterMetadata = self._ask(lambda seconds: self.consumer.list_topics(self.topic, timeout=seconds), what)
        error = found.topics[self.topic].error
        if error is not None:
            raise self.link.error(error, what)
        return found

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
        """What the newest records say; a log whose records are all dropped has a retention, as the real hub has.

        Raises DataError when the producer stamps them and sends them in transactions.
        """
        bounds = self.bounds()
        filled = {partition: held for partition, held in bounds.items() if held.high > held.low}
        for partition, held in filled.items():
            newest = self._newest(partition, held)
            if newest is not None:
                by_broker = bool(newest.timestamp()[0] != TIMESTAMP_CREATE_TIME)
                # A transaction's mark bears the broker's clock, and the index of timestamps finds marks, too.
                if not by_broker and int(newest.offset() or 0) < held.high - 1:
                    raise DataError(
                        f"{self.name}: its producer stamps the records and sends them in transactions, whose marks "
                        f"(here partition {partition} offset {held.high - 1}) the broker stamps. So no day can be told "
                        "to be over. Send without transactions, or set the topic's message.timestamp.type to "
                        "LogAppendTime."
                    )
                return by_broker
        return True if not filled and any(held.high for held in bounds.values()) else None

    def _newest(self, partition: int, held: Bounds) -> Message | None:
        """The newest record; None if the newest offsets are all of marks and of transactions that were given up."""
        for first in (held.high - 1, max(held.low, held.high - FETCH_RECORDS)):
            for message in deque(self._messages(partition, first, held.high), maxlen=1):
                return message
        return None

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
            sent = self.consumer.consume(min(FETCH_RECORDS, end - following), timeout=1.0)
            found = [message for message in sent if message.partition() == partition]  # or of the one read before
            for message in found:
                error, offset = message.error(), int(message.offset() or 0)
                if error is not None:
                    following = self._after_error(error, partition, max(offset, following), end)
                elif following <= offset < end:
                    following = offset + 1
                    yield message
                elif offset >= end:
                    following = end
            if found:
                heard = time.monotonic()  # only now: until the reader asks for more, nobody waits for the broker
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
