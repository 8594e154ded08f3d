"""Half-open UTC intervals: the only notion of time that orders, contracts and pipelines share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Interval:
    """The instants t with start <= t < end, both aware and in UTC.

    Raises ValueError when a bound is naive or in another zone, or when start is not before end.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _utc(self.start, "start"))
        object.__setattr__(self, "end", _utc(self.end, "end"))
        if self.start >= self.end:
            raise ValueError(f"Interval start must be before its end, got {self.start} and {self.end}")

    @classmethod
    def parse(cls, start: str | datetime, end: str | datetime) -> Interval:
        """From ISO 8601 texts with an offset of zero, or bare dates, which mean midnight UTC."""
        return cls(_read(start, "start"), _read(end, "end"))

    @classmethod
    def day(cls, day: str | date) -> Interval:
        """The UTC day written as a date or as "2013-01-01"."""
        if isinstance(day, str):
            day = _read_date(day)
        if isinstance(day, datetime):
            raise ValueError(f"Interval.day takes a date, got the instant {day!r}")
        start = datetime.combine(day, time.min, UTC)
        return cls(start, start + _DAY)

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"

    @property
    def is_day_aligned(self) -> bool:
        """Whether both bounds are midnights UTC."""
        return all(bound.time() == time.min for bound in (self.start, self.end))

    @property
    def partition(self) -> str:
        """The partition value of a one-day interval, "2013-01-01"; ValueError for any other interval."""
        if not self.is_day_aligned or self.end - self.start != _DAY:
            raise ValueError(f"Only a UTC day has a partition value, got {self}")
        return self.start.date().isoformat()

    def days(self) -> tuple[Interval, ...]:
        """Its UTC days in order; ValueError when it does not begin and end at midnight UTC."""
        if not self.is_day_aligned:
            raise ValueError(f"Only an interval of whole UTC days can be cut into days, got {self}")
        starts = (self.start + n * _DAY for n in range((self.end - self.start).days))
        return tuple(Interval(start, start + _DAY) for start in starts)

    def widen(self, lookback_days: int) -> Interval:
        """The same end, the start `lookback_days` earlier; ValueError when that is negative."""
        if lookback_days < 0:
            raise ValueError(f"lookback_days must not be negative, got {lookback_days}")
        return Interval(self.start - lookback_days * _DAY, self.end)

    def contains(self, instant: datetime) -> bool:
        """Whether start <= instant < end: the rule for raw rows."""
        return self.start <= _utc(instant, "instant") < self.end

    def contains_event(self, event_time: datetime) -> bool:
        """Whether start < event_time <= end: the rule for feature rows, whose event time is the end of a period."""
        return self.start < _utc(event_time, "event time") <= self.end

    def overlaps(self, other: Interval) -> bool:
        """Whether an instant lies in both; intervals that only touch do not overlap."""
        return self.start < other.end and other.start < self.end


def union(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The fewest intervals, sorted and apart, that hold exactly the same instants."""
    merged: list[Interval] = []
    for interval in sorted(intervals):
        if merged and interval.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, interval.end))
        else:
            merged.append(interval)
    return tuple(merged)


def _read(value: str | datetime, what: str) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"Interval {what} must be an ISO 8601 instant in UTC or a date, e.g. 2013-01-01, got {value!r}"
        ) from None
    return parsed.replace(tzinfo=UTC) if _is_bare_date(value) else parsed


def _is_bare_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _read_date(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"A UTC day must be written like 2013-01-01, got {value!r}") from None


def _utc(value: datetime, what: str) -> datetime:
    # The zone's name is compared too: London is at offset zero in winter, and no UTC day of ours may depend on it.
    if value.tzinfo is None or value.utcoffset() != timedelta(0) or value.tzname() not in {"UTC", "Z", "+00:00"}:
        raise ValueError(f"Interval {what} must be UTC, got {value!r}")
    return datetime.combine(date(value.year, value.month, value.day), value.time(), UTC)
