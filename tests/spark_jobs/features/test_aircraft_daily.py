from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from spark_jobs.features.aircraft_daily import transform
from tests.spark_jobs.frames import at, dicts, flight, flights


def row(end: str, **values: Any) -> dict[str, Any]:
    nothing = {"flights": 0, "mean_dep_delay": None, "mean_arr_delay": None, "cancellations": 0, "distance": 0.0}
    return {"tailnum": "N1", "event_timestamp": at(end), **nothing, "last_airport": None, **values}


def test_departures_and_arrivals_of_a_day_make_one_row(spark: SparkSession) -> None:
    frame = flights(
        spark,
        flight("2013-01-01 10:00", dep_delay=4, origin="EWR", dest="IAH"),
        flight("2013-01-01 14:00", dep_delay=-2, origin="IAH", dest="ORD", flight=2, distance=900.0),
    )
    expected = row(
        "2013-01-02", flights=2, mean_dep_delay=1.0, mean_arr_delay=-4.0, distance=2300.0, last_airport="ORD"
    )
    assert dicts(transform(flights=frame)) == [expected]


def test_an_arrival_after_midnight_counts_on_the_day_it_became_known(spark: SparkSession) -> None:
    frame = flights(spark, flight("2013-01-01 23:00", dep_delay=10, minutes=120, origin="JFK", dest="LAX"))
    assert dicts(transform(flights=frame)) == [
        row("2013-01-02", flights=1, mean_dep_delay=10.0, last_airport="JFK"),
        row("2013-01-03", mean_arr_delay=5.0, distance=1400.0, last_airport="LAX"),
    ]


def test_a_fact_at_midnight_belongs_to_the_day_that_begins(spark: SparkSession) -> None:
    frame = flights(spark, flight("2013-01-01 22:00", dep_delay=120, minutes=None))
    assert [found["event_timestamp"] for found in dicts(transform(flights=frame))] == [at("2013-01-03")]


def test_leaving_early_across_midnight_counts_in_the_raw_interval_of_the_flight(spark: SparkSession) -> None:
    frame = flights(spark, flight("2013-01-02 00:00", dep_delay=-11, minutes=None))
    expected = row("2013-01-03", flights=1, mean_dep_delay=-11.0, last_airport="EWR")
    assert dicts(transform(flights=frame)) == [expected]


def test_a_cancellation_is_known_at_the_scheduled_departure_and_shows_no_airport(spark: SparkSession) -> None:
    assert dicts(transform(flights=flights(spark, flight("2013-01-01 10:00", dep_delay=None)))) == [
        row("2013-01-02", cancellations=1)
    ]


def test_a_diverted_flight_departs_but_does_not_arrive(spark: SparkSession) -> None:
    frame = flights(spark, flight("2013-01-01 10:00", dep_delay=3, minutes=None))
    assert dicts(transform(flights=frame)) == [row("2013-01-02", flights=1, mean_dep_delay=3.0, last_airport="EWR")]


def test_flights_without_a_tail_number_belong_to_no_aircraft(spark: SparkSession) -> None:
    assert dicts(transform(flights=flights(spark, flight("2013-01-01 10:00", tailnum=None)))) == []


def test_in_the_same_minute_the_arrival_was_seen_last(spark: SparkSession) -> None:
    frame = flights(
        spark,
        flight("2013-01-01 10:00", minutes=60, dest="ORD"),
        flight("2013-01-01 11:00", minutes=None, origin="JFK", flight=2),
    )
    assert [found["last_airport"] for found in dicts(transform(flights=frame))] == ["ORD"]
