"""Plan and status: what is stale and why, what is there; without Redis."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from feature_pipelines import builds
from feature_pipelines.environment import Environment
from feature_pipelines.landing import land_day
from feature_pipelines.orders import read_order, write_order
from feature_pipelines.plan import plan, plan_table
from feature_pipelines.publishing import publish_order
from feature_pipelines.sources.flights import Flights
from feature_pipelines.sources.weather import Weather
from feature_pipelines.status import source_status, status
from spark_jobs.interval import Interval
from tests.feature_pipelines.staging import stage, weather_row

TABLE = "airport_weather_hourly"
DAY = Interval.day("2013-01-02")
MakeFlights, MakeWeather = Callable[..., Flights], Callable[..., Weather]


def publish(env: Environment, attempt: str = "1") -> None:
    uri = write_order(env, TABLE, DAY, attempt=attempt)
    assert uri is not None
    stage(
        read_order(env, uri), {DAY.partition: [weather_row("2013-01-02T11:00:00"), weather_row("2013-01-02T12:00:00")]}
    )
    publish_order(env, uri)


def whys(env: Environment, table: str = TABLE) -> list[tuple[str, str]]:
    return [(stale.partition, stale.why) for stale in plan_table(env, table)]


def test_nothing_landed_is_nothing_to_do(env: Environment) -> None:
    assert plan(env) == []


def test_what_is_landed_and_not_computed_is_missing_with_its_rows_and_bytes(
    env: Environment, flights: MakeFlights
) -> None:
    for day in ("2013-01-02", "2013-01-03"):
        land_day(env, flights({"flight": 1}, {"flight": 2}), Interval.day(day))
    found = plan(env)
    assert {stale.table for stale in found} == {"aircraft_daily", "airport_hourly", "route_performance"}
    sizes = {str(e.partition["interval_start"]): e.size for e in env.raw("flights").state().files.values()}
    first, second = [stale for stale in found if stale.table == "aircraft_daily"]
    assert (first.partition, first.why, first.rows, first.bytes) == ("2013-01-02", "missing", 2, sizes["2013-01-02"])
    assert (second.partition, second.rows, second.bytes) == ("2013-01-03", 2, sum(sizes.values()))


def test_published_days_are_not_in_the_plan(env: Environment, weather: MakeWeather) -> None:
    land_day(env, weather({}), DAY)
    publish(env)
    assert plan(env) == []


def test_a_corrected_source_is_told_apart_from_a_changed_definition(
    env: Environment, weather: MakeWeather, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_day(env, weather({}), DAY)
    publish(env)
    land_day(env, weather({"temp": 40}), DAY)
    assert whys(env) == [("2013-01-02", "source changed")]
    publish(env, "2")
    monkeypatch.setattr(builds, "definition_hash", lambda _: "feedfeedfeedfeed")
    assert whys(env) == [("2013-01-02", "definition changed")]


def test_late_data_makes_the_days_stale_that_read_it(env: Environment, flights: MakeFlights) -> None:
    source = flights({})
    land_day(env, source, Interval.day("2013-01-03"))
    before = builds.expected_builds(env, "aircraft_daily", [Interval.day("2013-01-03")])
    land_day(env, source, DAY)
    assert builds.expected_builds(env, "aircraft_daily", [Interval.day("2013-01-03")]) != before
    assert whys(env, "aircraft_daily") == [("2013-01-02", "missing"), ("2013-01-03", "missing")]


def test_a_published_day_without_its_source_is_told(env: Environment, weather: MakeWeather) -> None:
    land_day(env, weather({}), DAY)
    publish(env)
    ref = env.raw("weather")
    ref.open().delete("interval_start = '2013-01-02'")
    assert whys(env) == [("2013-01-02", "source not landed")]


def test_status_of_nothing(env: Environment) -> None:
    assert [(s.name, s.intervals, s.rows, s.version, s.newest) for s in source_status(env)] == [
        ("flights", 0, 0, None, None),
        ("weather", 0, 0, None, None),
    ]
    assert {(t.intervals, t.rows, t.version, t.online_version, t.freshness) for t in status(env)} == {
        (0, 0, None, None, None)
    }


def test_status_counts_what_is_live(env: Environment, weather: MakeWeather) -> None:
    land_day(env, weather({}, {"origin": None}), DAY)
    land_day(env, weather({}), Interval.day("2013-01-03"))
    publish(env)
    (raw,) = [s for s in source_status(env) if s.name == "weather"]
    assert (raw.intervals, raw.rows, raw.rejected, raw.version, raw.newest) == (2, 1, 1, 1, "2013-01-03")
    (table,) = [t for t in status(env) if t.name == TABLE]
    assert (table.intervals, table.rows, table.version) == (1, 2, 0)
    assert table.freshness == datetime(2013, 1, 2, 12, tzinfo=UTC)
