"""The identity of an interval: what it depends on, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from feature_pipelines import builds
from feature_pipelines.builds import Missing, expected_builds, read_inputs
from feature_pipelines.environment import Environment
from feature_pipelines.landing import land_day
from feature_pipelines.sources.flights import Flights
from spark_jobs.interval import Interval

MakeFlights = Callable[..., Flights]
DAYS = Interval.parse("2013-01-01", "2013-01-06").days()


def land_days(env: Environment, source: Flights, *days: str) -> None:
    for day in days:
        land_day(env, source, Interval.day(day), allow_shrink=True)


def test_a_day_whose_source_has_not_landed_has_no_build(env: Environment) -> None:
    assert expected_builds(env, "aircraft_daily", DAYS[:1]) == {"2013-01-01": Missing(("flights",))}


def test_a_landed_day_without_its_lookback_has_one(env: Environment, flights: MakeFlights) -> None:
    land_days(env, flights({}), "2013-01-02")
    found = expected_builds(env, "aircraft_daily", DAYS)
    assert [day for day, build in found.items() if not isinstance(build, Missing)] == ["2013-01-02"]
    build = found["2013-01-02"]
    assert isinstance(build, str)
    assert len(build) == 16
    assert int(build, 16) >= 0


def test_a_build_changes_with_the_days_it_reads_and_with_no_other(env: Environment, flights: MakeFlights) -> None:
    land_days(env, flights({}), *(day.partition for day in DAYS))
    before = expected_builds(env, "aircraft_daily", DAYS)
    land_days(env, flights({"distance": 1401}), "2013-01-02")
    after = expected_builds(env, "aircraft_daily", DAYS)
    assert [day for day in before if before[day] != after[day]] == ["2013-01-02", "2013-01-03", "2013-01-04"]


def test_landing_the_old_content_again_brings_the_old_build_back(env: Environment, flights: MakeFlights) -> None:
    found = []
    for distance in (1400, 1401, 1400):
        land_days(env, flights({"distance": distance}), "2013-01-02")
        found.append(expected_builds(env, "aircraft_daily", DAYS[1:2])["2013-01-02"])
    assert found[0] == found[2] != found[1]


def test_a_build_differs_between_tables_and_changes_with_the_definition(
    env: Environment, flights: MakeFlights, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_days(env, flights({}), "2013-01-02")
    day = DAYS[1:2]
    one, other = (expected_builds(env, table, day)["2013-01-02"] for table in ("aircraft_daily", "airport_hourly"))
    monkeypatch.setattr(builds, "definition_hash", lambda _: "feedfeedfeedfeed")
    changed = expected_builds(env, "aircraft_daily", day)["2013-01-02"]
    assert len({one, other, changed}) == 3
    assert str(changed).startswith("feed")


def test_inputs_are_the_live_files_of_the_days_and_their_lookback(env: Environment, flights: MakeFlights) -> None:
    land_days(env, flights({}), *(day.partition for day in DAYS))
    inputs = read_inputs(env, "aircraft_daily")
    found = inputs.entries([DAYS[1], DAYS[4]])
    read = [str(entry.partition["interval_start"]) for entry in found["flights"]]
    assert read == [day.partition for day in DAYS], "each once, although two days read 2013-01-03"
