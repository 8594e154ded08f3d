"""The window of a run: which UTC days it is about, resolved from the run's context in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from spark_jobs.interval import Interval

_DAY = timedelta(days=1)


class WindowError(ValueError):
    """The run does not say which days it is about, or says it wrongly; whoever starts the next run has to."""


def resolve_window(context: Mapping[str, Any]) -> Interval:
    """The whole UTC days of a run, end excluded. The first of these that is there decides.

    1. params `start` (first day) and `end` (the day after the last; default: one day),
    2. the partition key, a day,
    3. the data interval of a scheduled run or a backfill, widened to whole days,
    4. the day of the logical date.

    Raises WindowError, naming what to pass, when none is there or one cannot be read.
    """
    resolvers: tuple[Callable[[Mapping[str, Any]], Interval | None], ...] = (
        _from_params,
        _from_partition_key,
        _from_data_interval,
        _from_logical_date,
    )
    for resolver in resolvers:
        window = resolver(context)
        if window is not None:
            return window
    raise WindowError(
        f"{_run(context)} is about no days: it has no params start and end, no partition key, no data interval and no "
        'logical date. Trigger it with start and end, e.g. {"start": "2013-01-01", "end": "2013-01-04"} (end excluded), '
        "or create a backfill."
    )


def is_forced(context: Mapping[str, Any]) -> bool:
    """Whether the run asked to recompute days that are current."""
    return bool((context.get("params") or {}).get("force"))


def _from_params(context: Mapping[str, Any]) -> Interval | None:
    params = context.get("params") or {}
    start, end = params.get("start"), params.get("end")
    if start is None and end is None:
        return None
    if start is None:
        raise WindowError(
            f"{_run(context)}: param end {end!r} without start. Pass the first day as start, e.g. 2013-01-01."
        )
    first = _day(context, "param start", start)
    last = first + _DAY if end is None else _day(context, "param end", end)
    if first >= last:
        raise WindowError(
            f"{_run(context)}: param start {start} must be before end {end}. End is excluded: one day is "
            f'{{"start": "{first:%Y-%m-%d}", "end": "{first + _DAY:%Y-%m-%d}"}}.'
        )
    return Interval(first, last)


def _from_partition_key(context: Mapping[str, Any]) -> Interval | None:
    key = context.get("partition_key")
    if key is None:
        return None
    start = _day(context, "partition key", key)
    return Interval(start, start + _DAY)


def _from_data_interval(context: Mapping[str, Any]) -> Interval | None:
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None:
        return None
    first, last = _floor(start), _ceil(end)
    return Interval(first, last if last > first else first + _DAY)


def _from_logical_date(context: Mapping[str, Any]) -> Interval | None:
    moment = context.get("logical_date")
    return None if moment is None else Interval(_floor(moment), _floor(moment) + _DAY)


def _day(context: Mapping[str, Any], what: str, value: object) -> datetime:
    """Midnight of a day written as a date, or as an instant of UTC midnight."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() not in {None, timedelta(0)} or moment.time() != time.min:
        raise WindowError(f"{_run(context)}: {what} must be a UTC day written like 2013-01-01, found {value!r}")
    return moment.replace(tzinfo=UTC)


def _floor(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise WindowError(f"Airflow's times have a time zone, found {moment!r}")
    day: date = moment.astimezone(UTC).date()
    return datetime.combine(day, time.min, UTC)


def _ceil(moment: datetime) -> datetime:
    floor = _floor(moment)
    return floor if floor == moment else floor + _DAY


def _run(context: Mapping[str, Any]) -> str:
    return f"Run {context.get('run_id', 'without id')}"
