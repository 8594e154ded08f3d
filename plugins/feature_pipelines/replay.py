"""Replay: the packaged weather readings sent to the event stream, each stamped with the time it became known."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from feast_lakehouse.errors import DataError
from feature_pipelines.connections import connection
from feature_pipelines.sources import source
from feature_pipelines.streams.kafka_client import Link
from feature_pipelines.streams.kafka_log import KafkaLog, open_topic
from feature_pipelines.streams.log import Record, Span
from feature_pipelines.streams.retelling import WEATHER, Faults, messages
from feature_pipelines.streams.sending import Sender, ToSend, make_topic
from feature_pipelines.streams.source import CONNECTION, StreamSource

if TYPE_CHECKING:
    from feature_pipelines.environment import Environment
    from spark_jobs.interval import Interval

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
    sender = Sender(link, topic)
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


def _records(interval: Interval, faults: Faults, partitions: int) -> Iterator[ToSend]:
    told = messages(interval, faults)
    for day in interval.days():
        for message in (each for each in told if day.contains(each.known_at)):
            yield ToSend(message.known_at, partition_of(message.key, partitions), message)
        yield from (ToSend(day.end, partition) for partition in range(partitions))


def _present(log: KafkaLog, interval: Interval, records: list[ToSend]) -> Mapping[int, int]:
    """Partition -> how many of its first records the topic has. Another replay's records are refused."""
    bounds = log.bounds()
    # A heartbeat at the beginning belongs to the day before, the one at the end to these days.
    begins, ends = log.offsets_at(interval.start + TICK), log.offsets_at(interval.end + TICK)
    present = {}
    for partition, held in bounds.items():
        first, end = (held.high if found is None else found for found in (begins[partition], ends[partition]))
        wanted = [record for record in records if record.partition == partition]
        found = f"partition {partition} holds {end - first} records of {interval}, this replay has {len(wanted)}"
        if end - first > len(wanted) or (end - first < len(wanted) and ends[partition] is not None):
            later = "" if ends[partition] is None else ", and records of later days are there"
            raise _another(log, f"{found}{later}")
        if not all(map(_is, wanted, log.read(Span(partition, first, end)))):
            raise _another(log, f"{found}, and those there are not those of this replay")
        present[partition] = end - first
    return present


def _is(wanted: ToSend, found: Record) -> bool:
    value = wanted.message.value if wanted.message else None
    return (found.enqueued, found.value) == (wanted.stamp, value)


def _another(log: KafkaLog, told: str) -> DataError:
    return DataError(
        f"{log.name}: {told}. A stream goes forward only: replay later days, with the same shares and seed as before, or "
        "delete the topic."
    )


def _missing(records: list[ToSend], present: Mapping[int, int]) -> Iterator[ToSend]:
    seen = dict.fromkeys(present, 0)
    for record in records:
        seen[record.partition] += 1
        if seen[record.partition] > present[record.partition]:
            yield record


def _wait(sender: Sender, gap: timedelta, speed: float, sleep: Sleep) -> None:
    seconds = gap.total_seconds() / speed if speed else 0.0
    while seconds > 0:
        sleep(min(seconds, 1.0))
        seconds -= 1.0
        sender.serve(0)
