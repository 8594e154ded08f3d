"""The two sources over the real files: which rows a day has, and every clock of them in UTC."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_pipelines.schemas import raw_schema
from feature_pipelines.sources import FLAW, Source, sources
from feature_pipelines.sources.flights import ZONES_MISSING, clock, first_showing
from spark_jobs.features import feature_tables
from spark_jobs.interval import Interval

ZONES = ("America/New_York", "America/Los_Angeles", "America/Phoenix", "America/Puerto_Rico", "Pacific/Honolulu")


def rows(name: str, start: str, end: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pa.Table.from_batches(sources()[name].batches(Interval.parse(start, end))).to_pylist()
    return found


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def flight(found: list[dict[str, Any]], carrier: str, number: int, scheduled: str) -> dict[str, Any]:
    (one,) = [r for r in found if (r["carrier"], r["flight"], r["scheduled_at"]) == (carrier, number, utc(scheduled))]
    return one


def test_sources_are_found_by_file_name_and_describe_themselves_without_reading_data() -> None:
    assert list(sources()) == ["flights", "weather"]
    assert all(source.contract.name == name for name, source in sources().items())


@pytest.mark.parametrize("source", sources().values(), ids=lambda source: source.name)
def test_batches_have_the_columns_of_the_contract_and_flaw(source: Source) -> None:
    for batch in source.batches(Interval.day("2013-06-01")):
        assert batch.schema == raw_schema(source.contract).append(pa.field(FLAW, pa.string()))


def test_the_first_flight_of_the_year() -> None:
    found = flight(rows("flights", "2013-01-01", "2013-01-02"), "UA", 1545, "2013-01-01T10:15")
    assert found == {
        "carrier": "UA",
        "flight": 1545,
        "tailnum": "N14228",
        "origin": "EWR",
        "dest": "IAH",
        "scheduled_at": utc("2013-01-01T10:15"),
        "departed_at": utc("2013-01-01T10:17"),
        "arrived_at": utc("2013-01-01T14:30"),
        "dep_delay": 2.0,
        "arr_delay": 11.0,
        "distance": 1400.0,
        "cancelled": False,
        FLAW: None,
    }


def test_a_utc_day_takes_the_new_york_evening_before_and_leaves_its_own() -> None:
    days = Counter(row["scheduled_at"].date() for row in rows("flights", "2013-01-01", "2013-01-04"))
    assert days == {date(2013, 1, 1): 709, date(2013, 1, 2): 930, date(2013, 1, 3): 917}


def test_the_last_new_york_evening_belongs_to_the_first_utc_day_of_the_next_year() -> None:
    found = rows("flights", "2014-01-01", "2014-01-02")
    assert len(found) == 88
    assert max(row["scheduled_at"] for row in found) == utc("2014-01-01T04:59")
    assert rows("flights", "2014-01-02", "2014-01-03") == []


def test_null_tail_numbers_cancellations_and_diversions_of_the_real_file() -> None:
    found = rows("flights", "2013-02-08", "2013-02-10")
    cancelled = [row for row in found if row["cancelled"]]
    assert len(cancelled) > 400
    assert all(
        row["departed_at"] is row["arrived_at"] is row["dep_delay"] is row["arr_delay"] is None for row in cancelled
    )
    assert any(row["tailnum"] is None for row in cancelled)
    assert all((row["arrived_at"] is None) == (row["arr_delay"] is None) for row in found)
    assert any(row["arrived_at"] is None and not row["cancelled"] for row in found)
    assert all(row[FLAW] is None for row in found)


def test_a_flight_may_leave_before_its_utc_day_begins_and_stays_in_it() -> None:
    early = [
        r
        for r in rows("flights", "2013-01-02", "2013-01-03")
        if r["departed_at"] and r["departed_at"] < utc("2013-01-02")
    ]
    assert len(early) == 6
    assert all(row["scheduled_at"] >= utc("2013-01-02") and row["dep_delay"] < 0 for row in early)


def test_clocks_across_both_changes_of_the_hour() -> None:
    spring = rows("flights", "2013-03-10", "2013-03-12")
    assert min(row["scheduled_at"] for row in spring if row["scheduled_at"] >= utc("2013-03-10T06:00")) == utc(
        "2013-03-10T09:00"
    )
    (palm_beach,) = [
        r
        for r in rows("flights", "2013-03-10", "2013-03-11")
        if (r["carrier"], r["flight"], r["dest"]) == ("B6", 35, "PBI")
    ]
    assert palm_beach["arrived_at"] == utc("2013-03-10T07:03"), (
        "02:03 does not exist on that day: read as 02:03 winter time"
    )
    autumn = rows("flights", "2013-11-03", "2013-11-05")
    assert all(row["arrived_at"] is None or row["arrived_at"] > row["departed_at"] for row in spring + autumn)


def test_weather_keeps_both_passes_of_the_repeated_hour() -> None:
    found = [r["observed_at"] for r in rows("weather", "2013-11-03", "2013-11-04") if r["origin"] == "JFK"]
    assert utc("2013-11-03T05:00") in found
    assert utc("2013-11-03T06:00") in found
    assert len(found) == len(set(found)) == 19


def test_weather_begins_late_on_its_first_day_and_ends_a_day_early() -> None:
    assert min(row["observed_at"] for row in rows("weather", "2013-01-01", "2013-01-02")) == utc("2013-01-01T06:00")
    assert rows("weather", "2013-12-31", "2014-01-01") == []


@pytest.mark.parametrize("source", sources().values(), ids=lambda source: source.name)
def test_the_named_days_are_those_with_data(source: Source) -> None:
    def count(day: date) -> int:
        return sum(batch.num_rows for batch in source.batches(Interval.day(day)))

    one = timedelta(days=1)
    assert (count(source.first_day - one), count(source.last_day + one)) == (0, 0)
    assert min(count(source.first_day), count(source.last_day)) > 0


def test_every_table_looks_back_as_far_as_a_source_lets_facts_come_late() -> None:
    inputs = [(each.raw.name, each.lookback_days) for table in feature_tables().values() for each in table.inputs]
    assert inputs
    assert all(lookback >= sources()[name].known_within_days for name, lookback in inputs)


def test_destinations_without_a_time_zone_in_the_file_are_in_puerto_rico() -> None:
    found = [r for r in rows("flights", "2013-07-01", "2013-07-02") if r["dest"] in ZONES_MISSING and r["arrived_at"]]
    assert {row["dest"] for row in found} >= {"SJU", "BQN"}
    minutes = [(row["arrived_at"] - row["departed_at"]) / timedelta(minutes=1) for row in found]
    assert min(minutes) > 180
    assert max(minutes) < 320


@pytest.mark.parametrize("hhmm", [None, -1, 60, 2360, 2401])
def test_what_no_clock_shows(hhmm: int | None) -> None:
    assert clock(hhmm) is None


@pytest.mark.parametrize(
    ("hhmm", "shown"), [(1, time(0, 1)), (517, time(5, 17)), (2359, time(23, 59)), (2400, time(0, 0))]
)
def test_clock_numbers(hhmm: int, shown: time) -> None:
    assert clock(hhmm) == shown


@pytest.mark.parametrize(
    ("shown", "after", "instant"),
    [
        ("00:00", "2013-01-01T03:00", "2013-01-01T05:00"),  # midnight is the next wall-clock day
        ("22:00", "2013-01-01T03:00", "2013-01-02T03:00"),  # strictly after: a day later
        ("22:01", "2013-01-01T03:00", "2013-01-01T03:01"),
        ("01:30", "2013-11-03T05:00", "2013-11-03T05:30"),  # shown twice: the first time
        ("01:30", "2013-11-03T05:30", "2013-11-03T06:30"),  # … and then the second
        ("02:30", "2013-03-10T05:00", "2013-03-10T07:30"),  # skipped: the offset before the change
    ],
)
def test_first_showing(shown: str, after: str, instant: str) -> None:
    assert first_showing(time.fromisoformat(shown), utc(after), ZoneInfo("America/New_York")) == utc(instant)


@given(
    st.datetimes(datetime(2013, 1, 1), datetime(2014, 1, 1)),  # noqa: DTZ001 - made UTC below
    st.integers(0, 1439),
    st.sampled_from(ZONES),
)
def test_first_showing_is_what_a_person_watching_the_clock_would_see(after: datetime, minute: int, zone: str) -> None:
    after = after.replace(second=0, microsecond=0, tzinfo=UTC)
    shown = time(minute // 60, minute % 60)
    watched = (after + timedelta(minutes=n) for n in range(1, 1560))
    seen = next((moment for moment in watched if moment.astimezone(ZoneInfo(zone)).time() == shown), None)
    found = first_showing(shown, after, ZoneInfo(zone))
    skipped = found.astimezone(ZoneInfo(zone)).time() != shown
    assert skipped or found == seen
    assert not skipped or (found.date() == date(2013, 3, 10) and found < (seen or after + timedelta(days=2)))
