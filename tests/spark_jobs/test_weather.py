"""Weather readings that arrive late, twice or corrected: what is known at an hour's end, beside the oracle."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.features import feature_tables, load_transform
from spark_jobs.interval import Interval
from spark_jobs.raw import WEATHER
from tests import oracle
from tests.spark_jobs.frames import Row, at, dicts, frame, hour

TABLE = "airport_weather_hourly"
DAYS = Interval.parse("2013-01-01", "2013-01-06").days()


def test_a_late_reading_is_news_only_while_no_newer_one_is_known(spark: SparkSession) -> None:
    on_time = [hour(f"2013-01-01 {n}:00", temp=float(n)) for n in (20, 22)]
    news = hour("2013-01-01 21:00", temp=21.0, known_at=at("2013-01-01 22:10"))
    late = hour("2013-01-01 19:00", temp=19.0, known_at=at("2013-01-02 00:30"))
    assert told(spark, [*on_time, news, late]) == {
        "2013-01-01 21:00": 20.0,
        "2013-01-01 23:00": 22.0,  # 21:00 and 22:00 became known in the same hour
    }


def test_a_reading_known_after_midnight_belongs_to_the_day_that_learned_it(spark: SparkSession) -> None:
    late = hour("2013-01-01 23:00", temp=23.0, known_at=at("2013-01-02 05:15"))
    assert told(spark, [hour("2013-01-01 22:00", temp=22.0), late]) == {
        "2013-01-01 23:00": 22.0,
        "2013-01-02 06:00": 23.0,
    }


def test_a_correction_of_the_newest_reading_is_news_and_a_repetition_is_not(spark: SparkSession) -> None:
    first = hour("2013-01-01 10:00", temp=1.0)
    again, corrected, back = (
        {**first, "known_at": at(f"2013-01-01 {known}"), "temp": temp}
        for known, temp in (("11:30", 1.0), ("12:30", 2.0), ("13:30", 1.0))
    )
    assert told(spark, [first, again, corrected, back]) == {
        "2013-01-01 11:00": 1.0,
        "2013-01-01 13:00": 2.0,
        "2013-01-01 14:00": 1.0,
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_late_doubled_and_corrected_readings_equal_the_oracle_day_by_day_and_at_once(
    spark: SparkSession, seed: int
) -> None:
    readings = random_readings(seed)
    expected = oracle.weather_features(readings, [day.partition for day in DAYS])
    assert computed(spark, readings) == expected
    lookback = feature_tables()[TABLE].lookback_days
    by_day = []
    for day in DAYS:
        landed = [row for row in readings if day.widen(lookback).contains(row["known_at"])]
        by_day += [row for row in computed(spark, landed) if day.contains_event(row["event_timestamp"])]
    assert by_day == expected
    on_time = [row for row in readings if row["known_at"] - row["observed_at"] == timedelta(minutes=59)]
    assert computed(spark, on_time) != expected


def random_readings(seed: int) -> list[Row]:
    """Three days of two airports, known by the end of the fifth; many hours missing, every fourth one late."""
    dice = random.Random(seed)
    readings = []
    for origin in ("EWR", "JFK"):
        for n in range(72):
            if dice.random() < 0.4:
                continue
            observed = at("2013-01-01") + timedelta(hours=n)
            last = at("2013-01-03") + timedelta(days=n // 24) + timedelta(hours=23, minutes=59)
            known = observed + timedelta(minutes=59)
            if dice.random() < 0.25:
                known += (last - known) * dice.random()
            readings.append(reading(origin, observed, known, float(n)))
            while dice.random() < 0.2:
                known += (last - known) * dice.random()
                readings.append(reading(origin, observed, known, dice.choice([float(n), -1.0, None])))
    return readings


def reading(origin: str, observed: Any, known: Any, temp: float | None) -> Row:
    return hour(f"{observed:%Y-%m-%d %H:%M}", origin=origin, known_at=known.replace(microsecond=0), temp=temp)


def computed(spark: SparkSession, readings: list[Row]) -> list[Row]:
    rows = dicts(load_transform(TABLE)(weather=frame(spark, WEATHER, readings)))
    return sorted(rows, key=lambda row: (row["event_timestamp"], row["origin"]))


def told(spark: SparkSession, readings: list[Row]) -> dict[str, float]:
    return {f"{row['event_timestamp']:%Y-%m-%d %H:%M}": row["temp"] for row in computed(spark, readings)}
