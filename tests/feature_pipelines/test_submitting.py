"""A Spark application that fails: who is to act, and what it said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines import builds
from feature_pipelines.environment import Environment
from feature_pipelines.landing import land_day
from feature_pipelines.orders import write_order
from feature_pipelines.sources.weather import Weather
from feature_pipelines.submitting import run_order
from spark_jobs.interval import Interval

TABLE = "airport_weather_hourly"
DAY = Interval.day("2013-01-02")


def test_code_that_is_not_the_orders_is_a_data_error_in_the_applications_own_words(
    env: Environment, weather: Callable[..., Weather], monkeypatch: pytest.MonkeyPatch
) -> None:
    land_day(env, weather({}), DAY)
    monkeypatch.setattr(builds, "definition_hash", lambda _: "feedfeedfeedfeed")
    uri = write_order(env, TABLE, DAY, attempt="1")
    assert uri is not None
    with pytest.raises(DataError) as caught:
        run_order(env, uri, progress=lambda _: None)
    first, last = str(caught.value).splitlines()
    assert "the order wants feedfeedfeedfeed" in first
    assert last == "Nothing was staged or published."


def test_a_spark_that_fails_is_worth_a_retry_and_shows_the_end_of_its_log(env: Environment) -> None:
    ticks: list[float] = []
    with pytest.raises(
        TransportError, match=r"(?s)Spark ended with code 1\. The end of .*compute-0\.log:.*PATH_NOT_FOUND"
    ):
        run_order(env, f"{env.features(TABLE).uri}/_orders/0.json", progress=ticks.append)
    assert ticks == sorted(ticks)
