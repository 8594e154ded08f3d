from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from spark_jobs.features.route_performance import transform
from tests.spark_jobs.frames import at, dicts, flight, flights


def test_a_departure_counts_at_seven_day_ends(spark: SparkSession) -> None:
    rows = dicts(transform(flights=flights(spark, flight("2013-01-01 10:00", dep_delay=4))))
    assert [row["event_timestamp"] for row in rows] == [at(f"2013-01-0{day}") for day in range(2, 9)]
    assert rows[0] == {
        "carrier": "UA",
        "origin": "EWR",
        "dest": "IAH",
        "event_timestamp": at("2013-01-02"),
        "flights_7d": 1,
        "mean_dep_delay_7d": 4.0,
        "p90_dep_delay_7d": 4.0,
        "cancellation_rate_7d": 0.0,
    }


def test_the_percentile_is_exact_and_interpolated(spark: SparkSession) -> None:
    delays = [0.0, 10.0, 20.0, 100.0]
    frame = flights(spark, *(flight("2013-01-01 10:00", dep_delay=delay, flight=n) for n, delay in enumerate(delays)))
    row = dicts(transform(flights=frame))[0]
    assert row["p90_dep_delay_7d"] == pytest.approx(20 + 0.7 * 80)
    assert row["mean_dep_delay_7d"] == 32.5


def test_cancellations_are_a_share_of_departures_and_cancellations(spark: SparkSession) -> None:
    frame = flights(
        spark, flight("2013-01-01 10:00"), *(flight("2013-01-02 10:00", dep_delay=None, flight=n) for n in (2, 3, 4))
    )
    rows = dicts(transform(flights=frame))
    assert [(row["flights_7d"], row["cancellation_rate_7d"]) for row in rows] == [(1, 0.0)] + [(1, 0.75)] * 6 + [
        (0, 1.0)
    ]
    assert rows[-1]["mean_dep_delay_7d"] is None
    assert rows[-1]["p90_dep_delay_7d"] is None


def test_an_arrival_alone_makes_no_row_and_routes_are_apart(spark: SparkSession) -> None:
    frame = flights(
        spark,
        flight("2013-01-01 23:00", minutes=120),
        flight("2013-01-01 10:00", origin="JFK", flight=2),
        flight("2013-01-01 10:00", carrier="B6", flight=3),
    )
    first = [row for row in dicts(transform(flights=frame)) if row["event_timestamp"] == at("2013-01-02")]
    assert [(row["carrier"], row["origin"], row["flights_7d"]) for row in first] == [
        ("B6", "EWR", 1),
        ("UA", "EWR", 1),
        ("UA", "JFK", 1),
    ]
    assert max(row["event_timestamp"] for row in dicts(transform(flights=frame))) == at("2013-01-08")
