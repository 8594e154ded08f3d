"""Time is honest: nothing in a row was known later than its event time, and looking back far enough equals looking at all."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from spark_jobs.features import feature_tables, load_transform
from spark_jobs.interval import Interval
from spark_jobs.raw import FLIGHTS, WEATHER
from tests.spark_jobs.frames import Row, at, dicts, frame, hour, random_flights

FLIGHT_TABLES = ("aircraft_daily", "airport_hourly", "route_performance")
UNKNOWN_DEPARTURE = {"departed_at": None, "dep_delay": None}
UNKNOWN_ARRIVAL = {"arrived_at": None, "arr_delay": None}


def known_by(moment: datetime, rows: list[Row]) -> list[Row]:
    """What the airport knew at that moment: no later row, and of the others nothing that happened later."""
    known = []
    for row in rows:
        moments = [row[name] for name in ("scheduled_at", "departed_at", "arrived_at") if row[name] is not None]
        if min(moments) > moment or (row["cancelled"] and row["scheduled_at"] > moment):
            continue
        departed = row["departed_at"] is not None and row["departed_at"] <= moment
        arrived = row["arrived_at"] is not None and row["arrived_at"] <= moment
        known.append(row | ({} if departed else UNKNOWN_DEPARTURE) | ({} if arrived else UNKNOWN_ARRIVAL))
    return known


def computed(spark: SparkSession, table: str, worlds: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Each world's rows computed by themselves, in one Spark job: a world's name becomes part of the rows' keys."""
    tagged = [
        row | {"tailnum": row["tailnum"] and f"{row['tailnum']}@{world}", "origin": f"{row['origin']}@{world}"}
        for world, rows in worlds.items()
        for row in rows
    ]
    found: dict[str, list[Row]] = {world: [] for world in worlds}
    for row in dicts(load_transform(table)(flights=frame(spark, FLIGHTS, tagged))):
        world = row.get("origin", row.get("tailnum")).partition("@")[2]
        plain = {name: value.partition("@")[0] if isinstance(value, str) else value for name, value in row.items()}
        found[world].append(plain)
    return {
        world: sorted(rows, key=lambda row: [str(value) for value in row.values()]) for world, rows in found.items()
    }


@pytest.mark.parametrize("table", FLIGHT_TABLES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_value_of_a_flight_table_was_known_after_its_event_time(spark: SparkSession, table: str, seed: int) -> None:
    rows = random_flights(seed, first="2013-01-01 00:00", days=4, per_day=25)
    ends = [at("2013-01-01") + timedelta(hours=hours) for hours in (10, 24, 25, 34, 48, 61, 72, 96)]
    worlds = {f"{end:%d %H}": known_by(end, rows) for end in ends}
    found = computed(spark, table, {**worlds, "in the end": rows})
    for world, end in zip(worlds, ends, strict=True):
        old = [row for row in found[world] if row["event_timestamp"] <= end]
        assert old == [row for row in found["in the end"] if row["event_timestamp"] <= end]
    assert any(row["event_timestamp"] <= ends[1] for row in found["in the end"])


def test_the_weather_of_an_hour_is_known_when_the_hour_is_over(spark: SparkSession) -> None:
    weather = [hour(f"2013-01-01 {n:02}:00", temp=float(n)) for n in range(24)]
    for row in dicts(load_transform("airport_weather_hourly")(weather=frame(spark, WEATHER, weather))):
        assert row["event_timestamp"] == at(f"2013-01-01 {int(row['temp']):02}:00") + timedelta(hours=1)


def by_intervals(
    spark: SparkSession, table: str, rows: list[Row], days: tuple[Interval, ...], lookback: int
) -> list[Row]:
    """Each day computed by itself from the raw intervals of its lookback, as separate orders would."""
    worlds = {day.partition: [row for row in rows if day.widen(lookback).contains(row["scheduled_at"])] for day in days}
    found = computed(spark, table, worlds)
    inside = [row for day in days for row in found[day.partition] if day.contains_event(row["event_timestamp"])]
    return sorted(inside, key=lambda row: [str(value) for value in row.values()])


@pytest.mark.parametrize("table", FLIGHT_TABLES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_day_by_day_with_lookback_equals_all_at_once(spark: SparkSession, table: str, seed: int) -> None:
    rows = random_flights(seed, first="2013-01-01 00:00", days=11, per_day=4)
    days = Interval.parse("2013-01-01", "2013-01-12").days()
    whole = dicts(load_transform(table)(flights=frame(spark, FLIGHTS, rows)))
    expected = [row for row in whole if row["event_timestamp"] <= days[-1].end]
    assert by_intervals(spark, table, rows, days, feature_tables()[table].lookback_days) == expected


@pytest.mark.parametrize("table", FLIGHT_TABLES)
def test_a_shorter_lookback_would_lose_late_facts(spark: SparkSession, table: str) -> None:
    late = [random_flights(5, first="2013-01-01 00:00", days=1, per_day=1)[0]]
    late[0] |= {"scheduled_at": at("2013-01-01 23:50"), "departed_at": at("2013-01-03 00:10"), "dep_delay": 1460.0}
    late[0] |= {"cancelled": False, "tailnum": "N1", "arrived_at": None, "arr_delay": None}
    lookback = feature_tables()[table].lookback_days
    day = Interval.day("2013-01-03") if lookback == 2 else Interval.day("2013-01-09")
    assert len(by_intervals(spark, table, late, (day,), lookback)) == 1
    assert by_intervals(spark, table, late, (day,), lookback - 1) == []
