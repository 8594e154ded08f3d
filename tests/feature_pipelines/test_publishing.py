"""Orders and publishing: what is stale is ordered once, what is staged is published once or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from feast_lakehouse.errors import DataError, StaleInputs
from feature_pipelines.builds import expected_builds
from feature_pipelines.environment import Environment
from feature_pipelines.landing import land_day
from feature_pipelines.orders import read_order, write_order
from feature_pipelines.publishing import publish_order
from feature_pipelines.sources.weather import Weather
from spark_jobs.features import definition_hash
from spark_jobs.interval import Interval
from tests.feature_pipelines.staging import stage, weather_row, write_report

TABLE = "airport_weather_hourly"
WINDOW = Interval.parse("2013-01-02", "2013-01-04")
MakeWeather = Callable[..., Weather]
ROWS = {"2013-01-02": [weather_row("2013-01-02T11:00:00")], "2013-01-03": [weather_row("2013-01-03T11:00:00")]}


@pytest.fixture
def landed(env: Environment, weather: MakeWeather) -> Environment:
    source = weather({}, {"day": 3, "time_hour": "2013-01-03T10:00:00Z"})
    for day in WINDOW.days():
        land_day(env, source, day)
    return env


def ordered(env: Environment, window: Interval = WINDOW, *, attempt: str = "1", force: bool = False) -> str:
    uri = write_order(env, TABLE, window, attempt=attempt, force=force)
    assert uri is not None
    return uri


def rows(env: Environment) -> list[dict[str, Any]]:
    ref = env.features(TABLE)
    state = ref.state()
    found: list[dict[str, Any]] = ref.dataset(state.files, state.version).to_table().to_pylist()
    return sorted(found, key=lambda row: str(row["event_timestamp"]))


def test_an_order_names_days_builds_files_and_its_own_output(landed: Environment) -> None:
    uri = ordered(landed)
    order = read_order(landed, uri)
    assert uri == f"{landed.features(TABLE).uri}/_orders/{order.order_id}.json"
    assert order.output == f"{landed.features(TABLE).uri}/staging/{order.order_id}"
    assert order.definition == definition_hash(TABLE)
    assert order.builds == expected_builds(landed, TABLE, WINDOW.days())
    files = [f"{landed.raw('weather').uri}/{path}" for path in landed.raw("weather").state().files]
    assert order.inputs == {"weather": tuple(sorted(files))}


def test_the_same_attempt_is_the_same_order_and_another_is_not(landed: Environment) -> None:
    assert ordered(landed) == ordered(landed)
    assert ordered(landed) != ordered(landed, attempt="2")


def test_days_whose_source_has_not_landed_are_all_named(landed: Environment) -> None:
    with pytest.raises(
        DataError, match=r"(?s)2 of 4 days.*2013-01-04: weather\n  2013-01-05: weather\nLand them first"
    ):
        write_order(landed, TABLE, Interval.parse("2013-01-02", "2013-01-06"), attempt="1")


def test_published_days_are_current_until_forced_or_corrected(landed: Environment, weather: MakeWeather) -> None:
    uri = ordered(landed)
    stage(read_order(landed, uri), ROWS)
    assert publish_order(landed, uri).changed
    assert write_order(landed, TABLE, WINDOW, attempt="2") is None
    assert len(read_order(landed, ordered(landed, attempt="2", force=True)).intervals) == 2
    land_day(landed, weather({"temp": 40}), WINDOW.days()[0])
    # The second day looks back on the corrected one: a late reading of it would be compared with these.
    assert list(read_order(landed, ordered(landed, attempt="3")).builds) == ["2013-01-02", "2013-01-03"]


def test_publishing_is_one_commit_of_all_days_and_again_is_none(landed: Environment) -> None:
    uri = ordered(landed)
    stage(read_order(landed, uri), ROWS)
    first, second = publish_order(landed, uri), publish_order(landed, uri)
    assert (first.version, first.changed, first.rows) == (0, True, 2)
    assert (second.version, second.changed) == (0, False)
    assert [row["interval_start"] for row in rows(landed)] == ["2013-01-02", "2013-01-03"]
    assert landed.features(TABLE).live_builds() == expected_builds(landed, TABLE, WINDOW.days())


def test_a_forced_order_is_published_although_its_days_are_current(landed: Environment) -> None:
    stage(read_order(landed, ordered(landed)), ROWS)
    publish_order(landed, ordered(landed))
    forced = ordered(landed, attempt="2", force=True)
    stage(read_order(landed, forced), ROWS | {"2013-01-02": [weather_row("2013-01-02T11:00:00", temp=1.0)]})
    assert not publish_order(landed, forced).changed
    assert publish_order(landed, forced, force=True).changed
    assert [row["temp"] for row in rows(landed)] == [1.0, 39.0]


def test_a_day_without_rows_is_published_as_a_zero_row_file(landed: Environment) -> None:
    uri = ordered(landed)
    stage(read_order(landed, uri), {"2013-01-02": ROWS["2013-01-02"]})
    publish_order(landed, uri)
    assert sorted(landed.features(TABLE).live_builds()) == ["2013-01-02", "2013-01-03"]
    assert len(rows(landed)) == 1


def test_a_publisher_whose_inputs_moved_stops_and_changes_nothing(landed: Environment, weather: MakeWeather) -> None:
    late = ordered(landed)
    stage(read_order(landed, late), ROWS)
    land_day(landed, weather({"temp": 40}), WINDOW.days()[0])
    newer = ordered(landed, attempt="2")
    stage(read_order(landed, newer), ROWS | {"2013-01-02": [weather_row("2013-01-02T11:00:00", temp=40.0)]})
    publish_order(landed, newer)
    with pytest.raises(StaleInputs, match="2013-01-02"):
        publish_order(landed, late)
    assert [row["temp"] for row in rows(landed)] == [40.0, 39.0]
    assert landed.features(TABLE).state().version == 0


def test_without_a_report_nothing_is_published(landed: Environment) -> None:
    with pytest.raises(DataError, match="the application has not finished"):
        publish_order(landed, ordered(landed))
    assert not landed.features(TABLE).exists()


def test_broken_promises_are_told_and_nothing_is_published(landed: Environment) -> None:
    uri = ordered(landed)
    stage(read_order(landed, uri), ROWS, broken=("temp: minimum -80, found -100.0 in 1 row", "origin: null in 2 rows"))
    with pytest.raises(DataError) as caught:
        publish_order(landed, uri)
    assert str(caught.value).splitlines()[:3] == [
        "airport_weather_hourly 2013-01-02 to 2013-01-03: 2 promises broken",
        "  temp: minimum -80, found -100.0 in 1 row",
        "  origin: null in 2 rows",
    ]
    assert not landed.features(TABLE).exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"order_id": "x"', "not a report"),
        (
            json.dumps({"order_id": "x", "table": TABLE, "staged": "", "intervals": {}, "broken": [], "seconds": 1}),
            "found one of x",
        ),
    ],
)
def test_a_report_that_is_not_the_orders_is_refused(landed: Environment, text: str, said: str) -> None:
    uri = ordered(landed)
    write_report(read_order(landed, uri), text)
    with pytest.raises(DataError, match=said):
        publish_order(landed, uri)


def test_a_report_that_counts_other_rows_is_refused(landed: Environment) -> None:
    uri = ordered(landed)
    stage(read_order(landed, uri), ROWS, counts={"2013-01-02": 2})
    with pytest.raises(DataError, match="2013-01-02"):
        publish_order(landed, uri)
    assert not landed.features(TABLE).exists()


@pytest.mark.parametrize(
    "uri",
    ["file:///elsewhere/features/airport_weather_hourly/_orders/1.json", "file:///x/features/nothing/_orders/1.json"],
)
def test_an_order_of_another_place_is_refused(landed: Environment, uri: str) -> None:
    with pytest.raises(DataError, match=r"another environment's|no feature table"):
        read_order(landed, uri)


def test_an_order_that_is_not_there_is_refused(landed: Environment) -> None:
    with pytest.raises(DataError, match="expected an order, found none"):
        read_order(landed, f"{landed.features(TABLE).uri}/_orders/0.json")
