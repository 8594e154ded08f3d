"""What each aircraft did in a UTC day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_jobs.contract import Column, FeatureTable, Input
from spark_jobs.flight_facts import ARRIVAL, CANCELLATION, DEPARTURE, LOOKBACK_DAYS, facts
from spark_jobs.raw import FLIGHTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

TABLE = FeatureTable(
    name="aircraft_daily",
    lake="on_prem",
    description="One row per aircraft and UTC day in which it departed, arrived or had a flight cancelled.",
    owner="fleet-analytics",
    keys=(Column("tailnum", "string", "Tail number of the aircraft.", nullable=False),),
    features=(
        Column("flights", "int64", "Departures in the day.", minimum=0, maximum=50, nullable=False),
        Column(
            "mean_dep_delay",
            "float64",
            "Mean departure delay of the day's departures; null when there were none.",
            unit="minutes",
            minimum=-180,
            maximum=2880,
        ),
        Column(
            "mean_arr_delay",
            "float64",
            "Mean arrival delay of the day's arrivals; null when there were none.",
            unit="minutes",
            minimum=-300,
            maximum=2880,
        ),
        Column("cancellations", "int64", "Cancelled flights in the day.", minimum=0, maximum=50, nullable=False),
        Column(
            "distance",
            "float64",
            "Distance flown by the day's arrivals.",
            unit="miles",
            minimum=0,
            maximum=100_000,
            nullable=False,
        ),
        Column("last_airport", "string", "Airport where it was last seen in the day; null when it was only cancelled."),
    ),
    inputs=(Input(FLIGHTS, lookback_days=LOOKBACK_DAYS),),
)


def transform(flights: DataFrame) -> DataFrame:
    """A departure counts on the day it is known, an arrival likewise: they may be two days of one flight.

    Flights without a tail number belong to no aircraft and are left out. Of a departure and an arrival in the same
    minute the arrival was seen last.
    """
    from pyspark.sql import functions as F

    kind = F.col("kind")
    seen = F.struct("happened_at", kind == ARRIVAL, "scheduled_at", "carrier", "flight", "origin")
    airport = F.when(kind == ARRIVAL, F.col("dest")).otherwise(F.col("origin"))
    day_end = F.date_trunc("day", F.col("known_at")) + F.expr("INTERVAL 1 DAY")
    return (
        facts(flights)
        .where("tailnum IS NOT NULL")
        .groupBy("tailnum", day_end.alias("event_timestamp"))
        .agg(
            F.count_if(kind == DEPARTURE).alias("flights"),
            F.avg(F.when(kind == DEPARTURE, F.col("dep_delay"))).alias("mean_dep_delay"),
            F.avg(F.when(kind == ARRIVAL, F.col("arr_delay"))).alias("mean_arr_delay"),
            F.count_if(kind == CANCELLATION).alias("cancellations"),
            F.coalesce(F.sum(F.when(kind == ARRIVAL, F.col("distance"))), F.lit(0.0)).alias("distance"),
            F.max_by(airport, F.when(kind != CANCELLATION, seen)).alias("last_airport"),
        )
    )
