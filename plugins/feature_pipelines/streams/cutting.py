"""Where in a log an interval begins and ends: offsets, found once by enqueued time and kept.

Neighbouring intervals share their bounds, so every record of a partition is in exactly one interval: the one in which
the log's time (the greatest enqueued time so far) stood when it was appended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from feast_lakehouse.errors import DataError
from feature_pipelines.streams.log import Bounds, Log, NotOver, Span

if TYPE_CHECKING:
    from spark_jobs.interval import Interval

PATIENCE = timedelta(minutes=25)
"""A landing that comes a little early waits so long for its interval to be over; less than a task may take."""

Offsets = Mapping[int, int]
"""Partition -> offset."""


def wait_until_settled(log: Log, day: Interval, *, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Returns when no record of the interval can follow any more. Raises NotOver when that is not so.

    Records stamped by the broker: a moment after the interval's end by the clock; a landing that is early by less
    than PATIENCE waits. Stamped by the producer, no clock helps: every partition that ever had a record must hold one
    from the interval's end or later.
    """
    by_broker = log.is_stamped_by_broker()
    if by_broker is None:
        raise NotOver(f"{log.name}: nothing has been sent yet, so {day} cannot be told to be over. Land it later.")
    if by_broker:
        due = day.end + log.settles_after
        early = due - datetime.fromtimestamp(now(), UTC)
        if early > PATIENCE:
            raise NotOver(f"{log.name}: {day} is not over before {due:%Y-%m-%d %H:%M}Z. Land it then.")
        sleep(max(0.0, early.total_seconds()))
        return
    passed, bounds = log.offsets_at(day.end), log.bounds()
    behind = [partition for partition, found in passed.items() if found is None and bounds[partition].high > 0]
    if behind:
        raise NotOver(
            f"{log.name}: {day} is not over: partition {', '.join(map(str, sorted(behind)))} holds no record from its "
            "end or later, and the producer stamps the records. Land it when later records (or a heartbeat) are there."
        )


@dataclass(frozen=True)
class Fence:
    """Where the nearest settled interval on one side begins or ends; `is_adjacent` = nothing lies between."""

    offsets: Offsets
    is_adjacent: bool


def cut(
    log: Log, day: Interval, *, before: Fence | None = None, after: Fence | None = None, accept_loss: bool = False
) -> tuple[Span, ...]:
    """The interval's span in every partition. The interval must be over.

    `before` are the ends of the nearest settled interval before it, `after` the beginnings of the nearest one after
    it, None where there is none. Raises DataError when records of the interval may be gone, unless `accept_loss`.
    """
    bounds, begins, ends = log.bounds(), log.offsets_at(day.start), log.offsets_at(day.end)
    spans = []
    for partition, held in sorted(bounds.items()):
        if after is not None and partition not in after.offsets:
            continue  # it was made after a later interval was cut: all its records belong to still later ones
        limit = held.high if after is None else after.offsets[partition]
        first = _first(log, day, partition, held, begins[partition], before, accept_loss=accept_loss)
        found = ends[partition]
        end = limit if found is None or (after is not None and after.is_adjacent) else found
        first = min(first, limit)
        spans.append(Span(partition, first, min(max(first, end), limit)))
    return tuple(spans)


def _first(
    log: Log,
    day: Interval,
    partition: int,
    held: Bounds,
    found: int | None,
    before: Fence | None,
    *,
    accept_loss: bool,
) -> int:
    # A partition that is new since the interval before was cut has had no other interval.
    fence = 0 if before is None else before.offsets.get(partition, 0)
    if before is not None and before.is_adjacent:
        # Records below the lowest one held are missed by `require_held`.
        return max(fence, held.low) if accept_loss else fence
    first = max(fence, held.high if found is None else found)
    if first == held.low > fence and not accept_loss:
        raise DataError(
            f"{log.name}: partition {partition} holds nothing before offset {held.low} any more, and whether records of {day} "
            "were among what is gone cannot be told. Land the days in order, each before the broker drops it; or land "
            "with allow_shrink if nothing of that day matters before this offset."
        )
    return first


def require_held(log: Log, spans: tuple[Span, ...], day: Interval) -> None:
    """Raises DataError when the log does not hold the spans whole: too old, or a log that was made anew."""
    bounds = log.bounds()
    broken = [told for span in spans if not span.is_empty for told in _missing(span, bounds.get(span.partition))]
    if broken:
        told = "\n  ".join(broken)
        raise DataError(
            f"{log.name}: the records of {day} are settled and can no longer be read; nothing was changed.\n  {told}\n"
            "What has landed of them stays. If the stream was made anew, land with allow_shrink to settle the day again."
        )


def is_beyond(log: Log, spans: tuple[Span, ...]) -> bool:
    """Whether the log ends before a span does: it cannot be the log that was cut."""
    bounds = log.bounds()
    return any(span.partition not in bounds or span.end > bounds[span.partition].high for span in spans)


def _missing(span: Span, held: Bounds | None) -> list[str]:
    if held is None:
        return [f"{span}: there is no such partition"]
    if span.end > held.high:
        return [f"{span}: the next record will be offset {held.high}; was the stream deleted and made anew?"]
    if span.first < held.low:
        return [f"{span}: the lowest offset that is still held is {held.low}"]
    return []
