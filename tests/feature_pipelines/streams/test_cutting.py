"""Where intervals of a log begin and end, and when that may be settled."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.streams.cutting import Fence, Offsets, cut, is_beyond, require_held, wait_until_settled
from feature_pipelines.streams.log import NotOver, Span
from spark_jobs.interval import Interval
from tests.feature_pipelines.streams.memory import MemoryLog

FIRST, SECOND, THIRD = DAYS = Interval.parse("2013-01-01", "2013-01-04").days()


def at(hours: float, day: Interval = FIRST) -> datetime:
    return day.start + timedelta(hours=hours)


def spans(log: MemoryLog, day: Interval, *, before: Offsets | None = None, after: Offsets | None = None) -> list[Span]:
    return list(cut(log, day, before=beside(before), after=beside(after)))


def beside(offsets: Offsets | None) -> Fence | None:
    return None if offsets is None else Fence(offsets, is_adjacent=True)


def settle(log: MemoryLog, day: Interval, *, now: datetime) -> list[float]:
    """How long it slept."""
    slept: list[float] = []
    wait_until_settled(log, day, now=now.timestamp, sleep=slept.append)
    return slept


def test_an_interval_is_cut_by_enqueued_time_its_end_left_out() -> None:
    log = MemoryLog({0: [at(0), at(23.99), at(24), at(25)], 1: [at(30)], 2: []})
    assert spans(log, FIRST) == [Span(0, 0, 2), Span(1, 0, 0), Span(2, 0, 0)]
    assert spans(log, SECOND) == [Span(0, 2, 4), Span(1, 0, 1), Span(2, 0, 0)]
    assert spans(log, THIRD) == [Span(0, 4, 4), Span(1, 1, 1), Span(2, 0, 0)]


def test_a_record_stamped_late_by_its_producer_belongs_to_the_interval_it_was_appended_in() -> None:
    log = MemoryLog({0: [at(1), at(26), at(2), at(27)]})
    assert spans(log, FIRST) == [Span(0, 0, 1)]
    assert spans(log, SECOND) == [Span(0, 1, 4)]


def test_records_that_came_after_a_neighbour_was_cut_are_in_the_next_interval() -> None:
    log = MemoryLog({0: [at(1)]})
    ends = {span.partition: span.end for span in spans(log, FIRST)}
    log.partitions[0] += [at(2), at(26)]  # the clock of the broker was behind
    assert spans(log, SECOND, before=ends) == [Span(0, 1, 3)]
    assert spans(log, SECOND) == [Span(0, 2, 3)]


def test_an_interval_between_two_settled_ones_is_what_lies_between_them() -> None:
    log = MemoryLog({0: [at(n * 6) for n in range(12)]})
    assert spans(log, SECOND, before={0: 3}, after={0: 9}) == [Span(0, 3, 9)]


def test_a_partition_added_later_begins_with_its_first_record() -> None:
    log = MemoryLog({0: [at(1), at(25)], 1: [at(20), at(25)]})
    assert spans(log, SECOND, before={0: 1}) == [Span(0, 1, 2), Span(1, 0, 2)]
    assert spans(log, FIRST, after={0: 1}) == [Span(0, 0, 1)]


@given(
    st.lists(st.lists(st.integers(-30, 130), max_size=25), min_size=1, max_size=3),
    st.permutations([0, 1, 2, 3, 4]),
    st.data(),
)
def test_every_record_is_in_one_interval_in_whatever_order_they_are_cut(
    stamps: list[list[int]], order: list[int], data: st.DataObject
) -> None:
    """Records may go on being appended, with any stamp, between two cuts."""
    days = Interval.parse("2012-12-31", "2013-01-05").days()
    log = MemoryLog({partition: [] for partition in range(len(stamps))})
    found: dict[int, dict[int, Span]] = {}
    for n in order:
        for partition, hours in enumerate(stamps):
            held = log.partitions[partition]
            grown = data.draw(st.integers(len(held), len(hours)))
            held += [at(hour) for hour in hours[len(held) : grown]]
        below, above = max((m for m in found if m < n), default=None), min((m for m in found if m > n), default=None)
        before = after = None
        if below is not None:
            before = Fence({span.partition: span.end for span in found[below].values()}, below == n - 1)
        if above is not None:
            after = Fence({span.partition: span.first for span in found[above].values()}, above == n + 1)
        cutting = cut(log, days[n], before=before, after=after)
        found[n] = {span.partition: span for span in cutting}
    for partition in log.partitions:
        bounds = [found[n][partition] for n in range(len(days))]
        assert all(one.end == other.first for one, other in itertools.pairwise(bounds))
        assert all(span.first <= span.end for span in bounds)


def test_what_the_log_may_have_dropped_of_an_unsettled_interval_is_told() -> None:
    log = MemoryLog({0: [at(1), at(2), at(25)]}, lows={0: 1})
    with pytest.raises(DataError, match=r"partition 0 holds nothing before offset 1 any more.*allow_shrink"):
        cut(log, FIRST)
    assert cut(log, FIRST, accept_loss=True) == (Span(0, 1, 2),)
    assert cut(log, SECOND) == (Span(0, 2, 3),)


def test_a_quiet_partition_whose_records_are_all_dropped_has_lost_none_of_the_next_day() -> None:
    log = MemoryLog({0: [at(1), at(2)]}, lows={0: 2})
    with pytest.raises(DataError, match="cannot be told"):
        cut(log, SECOND)
    assert cut(log, SECOND, before=beside({0: 2})) == (Span(0, 2, 2),)


def test_dropped_records_of_a_settled_interval_are_an_error_and_never_no_rows() -> None:
    log = MemoryLog({0: [at(n) for n in range(10)]}, lows={0: 3})
    require_held(log, (Span(0, 3, 10), Span(0, 1, 1)), FIRST)
    with pytest.raises(DataError, match=r"(?s)partition 0, offsets 2 to 9: the lowest offset that is still held is 3"):
        require_held(log, (Span(0, 2, 10),), FIRST)
    with pytest.raises(DataError, match="lowest offset"):
        require_held(log, cut(log, FIRST, before=beside({0: 1})), FIRST)
    assert cut(log, FIRST, before=beside({0: 1}), accept_loss=True) == (Span(0, 3, 10),)


def test_a_log_that_was_made_anew_is_noticed() -> None:
    log = MemoryLog({0: [at(1)]})
    for span, told in (
        (Span(0, 0, 2), "will be offset 1; was the stream deleted"),
        (Span(7, 0, 1), "no such partition"),
    ):
        assert is_beyond(log, (span,))
        with pytest.raises(DataError, match=told):
            require_held(log, (span,), FIRST)
    assert not is_beyond(log, (Span(0, 0, 1),))


def test_by_the_brokers_stamps_a_day_is_over_a_moment_after_its_end() -> None:
    log = MemoryLog({0: [at(1)]}, by_broker=True)
    assert settle(log, FIRST, now=at(24.5)) == [0.0]
    assert settle(log, FIRST, now=at(24)) == [30.0]
    assert settle(log, FIRST, now=at(23.75)) == [930.0]
    with pytest.raises(NotOver, match=r"not over before 2013-01-02 00:00Z"):
        settle(log, FIRST, now=at(12))
    assert issubclass(NotOver, TransportError)


def test_by_a_producers_stamps_a_day_is_over_when_every_used_partition_has_passed_its_end() -> None:
    log = MemoryLog({0: [at(1), at(24)], 1: [at(2)], 2: []})
    with pytest.raises(NotOver, match=r"partition 1 holds no record from its end or later"):
        settle(log, FIRST, now=at(1000))
    log.partitions[1].append(at(40))
    assert settle(log, FIRST, now=at(0)) == []


def test_a_log_without_any_record_tells_nothing() -> None:
    with pytest.raises(NotOver, match="nothing has been sent yet"):
        settle(MemoryLog({0: [], 1: []}), FIRST, now=at(1000))
