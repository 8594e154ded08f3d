from __future__ import annotations

from pyspark.sql import SparkSession

from spark_jobs.features.airport_hourly import transform
from tests.spark_jobs.frames import at, dicts, flight, flights


def test_departures_count_in_the_utc_hour_they_happen(spark: SparkSession) -> None:
    frame = flights(
        spark,
        flight("2013-01-01 10:00", dep_delay=-1, flight=1),
        flight("2013-01-01 10:00", dep_delay=0, flight=2),
        flight("2013-01-01 10:30", dep_delay=29, flight=3),
        flight("2013-01-01 10:30", dep_delay=30, flight=4),
        flight("2013-01-01 10:30", dep_delay=None, flight=5),
        flight("2013-01-01 10:30", origin="JFK", flight=6),
    )
    assert dicts(transform(flights=frame)) == [
        {"origin": "EWR", "event_timestamp": at("2013-01-01 10:00"), "departures": 1, "mean_dep_delay": -1.0},
        {"origin": "EWR", "event_timestamp": at("2013-01-01 11:00"), "departures": 2, "mean_dep_delay": 14.5},
        {"origin": "EWR", "event_timestamp": at("2013-01-01 12:00"), "departures": 1, "mean_dep_delay": 30.0},
        {"origin": "JFK", "event_timestamp": at("2013-01-01 11:00"), "departures": 1, "mean_dep_delay": 0.0},
    ]


def test_the_last_hour_of_a_day_ends_at_midnight_and_early_leavers_wait_for_their_day(spark: SparkSession) -> None:
    frame = flights(spark, flight("2013-01-01 23:10", flight=1), flight("2013-01-02 00:00", dep_delay=-11, flight=2))
    assert [(row["event_timestamp"], row["departures"]) for row in dicts(transform(flights=frame))] == [
        (at("2013-01-02 00:00"), 1),
        (at("2013-01-02 01:00"), 1),
    ]
