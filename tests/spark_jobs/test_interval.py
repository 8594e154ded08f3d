"""The algebra of half-open UTC intervals."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.interval import Interval, union

HOUR = timedelta(hours=1)
ORIGIN = datetime(2013, 1, 1, tzinfo=UTC)
hours = st.integers(0, 60).map(lambda n: ORIGIN + n * HOUR)
intervals = st.tuples(hours, hours).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: Interval(*pair))
days = st.dates(date(1990, 1, 1), date(2090, 1, 1))


def held(*some: Interval) -> set[datetime]:
    return {ORIGIN + n * HOUR for n in range(61) if any(each.contains(ORIGIN + n * HOUR) for each in some)}


@given(st.lists(intervals))
def test_union_holds_the_same_instants_in_intervals_that_are_sorted_and_apart(some: list[Interval]) -> None:
    merged = union(some)
    assert held(*merged) == held(*some)
    assert all(left.end < right.start for left, right in pairwise(merged))


@given(st.lists(intervals))
def test_union_is_the_same_in_any_order_and_when_repeated(some: list[Interval]) -> None:
    assert union(reversed(some)) == union(some) == union(union(some))


@given(intervals, intervals)
def test_overlap_is_a_common_instant(one: Interval, other: Interval) -> None:
    assert one.overlaps(other) == other.overlaps(one) == bool(held(one) & held(other))


@given(days, st.integers(1, 20))
def test_days_tile_their_interval(first: date, count: int) -> None:
    whole = Interval(Interval.day(first).start, Interval.day(first).start + count * timedelta(days=1))
    parts = whole.days()
    assert len(parts) == count
    assert union(parts) == (whole,)
    assert [part.partition for part in parts] == sorted({part.partition for part in parts})
    assert [Interval.day(part.partition) for part in parts] == list(parts)


@given(intervals, st.integers(0, 30))
def test_widening_moves_the_start_alone_and_adds_up(interval: Interval, back: int) -> None:
    wide = interval.widen(back)
    assert wide.end == interval.end
    assert interval.start - wide.start == timedelta(days=back)
    assert wide.widen(1) == interval.widen(back + 1)


@given(intervals, hours)
def test_every_event_time_lies_in_exactly_one_of_two_touching_intervals(interval: Interval, event: datetime) -> None:
    following = Interval(interval.end, interval.end + 100 * HOUR)
    owners = [each for each in (interval, following) if each.contains_event(event)]
    assert len(owners) == (event > interval.start)


def test_an_end_is_outside_and_an_event_at_the_end_inside() -> None:
    day = Interval.day("2013-01-01")
    assert (day.contains(day.start), day.contains(day.end)) == (True, False)
    assert (day.contains_event(day.start), day.contains_event(day.end)) == (False, True)


@pytest.mark.parametrize(
    "text", ["2013-01-01T00:00:00+00:00", "2013-01-01T00:00:00Z", "2013-01-01 00:00+00:00", "2013-01-01"]
)
def test_parse_reads_utc_instants_and_bare_dates(text: str) -> None:
    assert Interval.parse(text, datetime(2013, 1, 2, tzinfo=ZoneInfo("UTC"))) == Interval.day("2013-01-01")


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        (ORIGIN.replace(tzinfo=None), r"start must be UTC, got datetime.datetime\(2013, 1, 1, 0, 0\)"),
        ("2013-01-01T00:00:00", "start must be UTC"),
        ("2013-01-01T00:00:00-05:00", "start must be UTC"),
        (datetime(2013, 1, 1, tzinfo=ZoneInfo("Europe/London")), "start must be UTC"),
        (datetime(2013, 1, 1, tzinfo=timezone(timedelta(hours=1))), "start must be UTC"),
        ("yesterday", "ISO 8601 instant in UTC or a date, e.g. 2013-01-01, got 'yesterday'"),
        ("2013-01-02", "must be before its end"),
        ("2013-01-03", "must be before its end"),
    ],
)
def test_refused_starts(start: str | datetime, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Interval.parse(start, "2013-01-02")


def test_refused_days() -> None:
    with pytest.raises(ValueError, match="written like 2013-01-01, got 'first of May'"):
        Interval.day("first of May")
    with pytest.raises(ValueError, match="takes a date, got the instant"):
        Interval.day(datetime(2013, 1, 1, tzinfo=UTC))


def test_what_only_whole_days_have() -> None:
    half = Interval.parse("2013-01-01T12:00Z", "2013-01-02T12:00Z")
    two = Interval.parse("2013-01-01", "2013-01-03")
    with pytest.raises(ValueError, match="Only a UTC day has a partition value"):
        _ = half.partition
    with pytest.raises(ValueError, match="Only a UTC day has a partition value"):
        _ = two.partition
    with pytest.raises(ValueError, match="whole UTC days"):
        half.days()
    with pytest.raises(ValueError, match="must not be negative"):
        half.widen(-1)
