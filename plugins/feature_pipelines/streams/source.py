"""A source whose rows are records of a stream; what a row is, the packaged source of the same name says."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from feast_lakehouse.errors import DataError
from feature_pipelines.environment import EnvironmentBroken
from feature_pipelines.streams.cutting import Fence, cut, is_beyond, require_held, wait_until_settled
from feature_pipelines.streams.messages import row_batches
from feature_pipelines.streams.offsets import Settled, read_offsets, settled_days, write_offsets
from spark_jobs.interval import Interval

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from feast_lakehouse.delta import TableRef
    from feature_pipelines.environment import Environment
    from feature_pipelines.sources import Source
    from feature_pipelines.streams.log import Log
    from spark_jobs.contract import RawTable

CONNECTION: Final = "my_feast_events"
KINDS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "events": (frozenset({"topic"}), frozenset({"bootstrap", "connection"})),
    "capture": (frozenset({"topic", "path"}), frozenset()),
}
"""Kind of stream -> the settings it must have, and those it may have."""


@dataclass(frozen=True)
class StreamSource:
    """A stream as a source. `settled` is the extent of the interval that was fixed, None before."""

    env: Environment
    packaged: Source
    settings: Mapping[str, str]
    settled: Settled | None = None
    lag: Mapping[int, int] | None = None
    is_stream: bool = True
    now: Callable[[], float] = field(default=time.time, repr=False)  # noqa: TID251 - when a day of the hub is over
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def name(self) -> str:
        """Of the source, the raw table and the landing DAG."""
        return self.packaged.name

    @property
    def contract(self) -> RawTable:
        """What a raw row is."""
        return self.packaged.contract

    @property
    def first_day(self) -> date:
        """The first UTC day that is asked for."""
        return self.packaged.first_day

    @property
    def last_day(self) -> date:
        """The last UTC day that is asked for."""
        return self.packaged.last_day

    @property
    def fact_columns(self) -> tuple[str, ...]:
        """As packaged."""
        return self.packaged.fact_columns

    @property
    def known_within_days(self) -> int:
        """As packaged."""
        return self.packaged.known_within_days

    @property
    def offsets(self) -> TableRef:
        """Where the offsets of settled intervals are kept."""
        return self.env.lakes.table(self.contract.lake, f"raw/{self.name}_offsets")

    def flaws(self, rows: pa.RecordBatch) -> pa.Array:
        """As packaged."""
        return self.packaged.flaws(rows)

    def fixed(self, interval: Interval, *, allow_shrink: bool = False) -> StreamSource:
        """With the interval's offsets: those that were settled, or, the first time, those that are settled now.

        Raises DataError when a settled offset is gone, NotOver (a TransportError) when the interval is not over.
        """
        with self._log() as log:
            bounds = log.bounds()
            settled = self._settled(log, interval, allow_shrink=allow_shrink)
        lag = {partition: max(0, bounds[partition].high - end) for partition, end in settled.ends.items()}
        return replace(self, settled=settled, lag=lag)

    def _settled(self, log: Log, day: Interval, *, allow_shrink: bool) -> Settled:
        table, topic, topic_id = self.offsets, self.settings["topic"], log.identity
        stored = read_offsets(table, day.partition)
        is_another = stored is not None and (not stored.is_of(topic, topic_id) or is_beyond(log, stored.spans))
        if stored is None or (is_another and allow_shrink):
            wait_until_settled(log, day, now=self.now, sleep=self.sleep)
            before, after = self._fences(log, day, topic, topic_id)
            spans = cut(log, day, before=before, after=after, accept_loss=allow_shrink)
            require_held(log, spans, day)
            stored = write_offsets(table, day.partition, Settled(topic, topic_id, spans), replace=stored)
        require_same(log, stored, topic, topic_id, day)
        require_held(log, stored.spans, day)
        return stored

    def _fences(self, log: Log, day: Interval, topic: str, topic_id: str | None) -> tuple[Fence | None, Fence | None]:
        """Of the nearest settled days before and after, in this very stream."""

        def nearest(names: Iterable[str]) -> tuple[Interval, Settled] | None:
            stored = ((Interval.day(name), read_offsets(self.offsets, name)) for name in names)
            return next(
                (
                    (found, settled)
                    for found, settled in stored
                    if settled and settled.is_of(topic, topic_id) and not is_beyond(log, settled.spans)
                ),
                None,
            )

        days = settled_days(self.offsets)
        before = nearest(name for name in reversed(days) if name < day.partition)
        after = nearest(name for name in days if name > day.partition)
        return (
            before and Fence(before[1].ends, is_adjacent=before[0].end == day.start),
            after and Fence(after[1].firsts, is_adjacent=after[0].start == day.end),
        )

    def batches(self, interval: Interval) -> Iterator[pa.RecordBatch]:
        """The interval's records, partition by partition, by offset: always the same ones in the same order."""
        settled = self.settled or self.fixed(interval).settled
        with self._log() as log:
            for span in settled.spans if settled else ():
                yield from row_batches(log.read(span), self.contract, interval, flaws=self.flaws)

    @contextlib.contextmanager
    def _log(self) -> Iterator[Log]:
        if self.settings["kind"] == "capture":
            from feature_pipelines.streams.capture_log import CaptureLog

            yield CaptureLog(self.env.lakes.resolve(self.settings["path"]))
            return
        from feature_pipelines.connections import connection
        from feature_pipelines.streams.kafka_client import Link
        from feature_pipelines.streams.kafka_log import open_topic

        found = connection(self.settings.get("connection", CONNECTION))
        with open_topic(Link.of(found, self.settings.get("bootstrap")), self.settings["topic"]) as log:
            yield log


def require_same(log: Log, settled: Settled, topic: str, topic_id: str | None, day: Interval) -> None:
    """Raises DataError when the offsets are those of another topic, or of one that was deleted and made anew."""
    if not settled.is_of(topic, topic_id):
        found = f"topic {topic}" if topic != settled.topic else "a topic of that name that was made anew"
        raise DataError(
            f"{log.name}: {day} is settled in topic {settled.topic} ({settled.topic_id}), found {found} ({topic_id}). What has "
            "landed stays. Land with allow_shrink to settle the day in the topic that is there now."
        )


def stream_source(env: Environment, packaged: Source, settings: Mapping[str, Any]) -> StreamSource:
    """Raises EnvironmentBroken, naming every setting that is missing or not known."""
    kind = str(settings.get("kind"))
    where = f"{env.yaml}: sources.{packaged.name}"
    if kind not in KINDS:
        raise EnvironmentBroken(f"{where}.kind: expected packaged, {' or '.join(KINDS)}, found {kind!r}")
    needed, known = KINDS[kind]
    missing, unknown = needed - settings.keys(), settings.keys() - needed - known - {"kind"}
    if missing or unknown:
        told = [f"missing {', '.join(sorted(missing))}"] if missing else []
        told += [f"not known: {', '.join(sorted(unknown))}"] if unknown else []
        raise EnvironmentBroken(f"{where} of kind {kind}: {'; '.join(told)}")
    return StreamSource(env, packaged, {name: str(value) for name, value in settings.items()})
