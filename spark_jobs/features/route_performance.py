"""How punctual and reliable each route was over the last seven UTC days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_jobs.contract import Column, FeatureTable, Input
from spark_jobs.flight_facts import CANCELLATION, DEPARTURE, LOOKBACK_DAYS, facts
from spark_jobs.raw import FLIGHTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

WINDOW_DAYS = 7

TABLE = FeatureTable(
    name="route_performance",
    lake="on_prem",
    description="One row per route and UTC day end, over the departures and cancellations of the seven days before it.",
    owner="network-planning",
    keys=(
        Column("carrier", "string", "Airline, IATA code.", nullable=False),
        Column("origin", "string", "Airport of departure, FAA code.", nullable=False),
        Column("dest", "string", "Airport of destination, FAA code.", nullable=False),
    ),
    features=(
        Column("flights_7d", "int64", "Departures in the seven days.", minimum=0, maximum=10_000, nullable=False),
        Column(
            "mean_dep_delay_7d",
            "float64",
            "Mean departure delay of those departures; null when there were none.",
            unit="minutes",
            minimum=-180,
            maximum=2880,
        ),
        Column(
            "p90_dep_delay_7d",
            "float64",
            "Exact 90th percentile of the departure delay, interpolated linearly; null when there were none.",
            unit="minutes",
            minimum=-180,
            maximum=2880,
        ),
        Column(
            "cancellation_rate_7d",
            "float64",
            "Cancellations among departures and cancellations.",
            minimum=0,
            maximum=1,
            nullable=False,
        ),
    ),
    inputs=(Input(FLIGHTS, lookback_days=WINDOW_DAYS - 1 + LOOKBACK_DAYS),),
)


def transform(flights: DataFrame) -> DataFrame:
    """Every departure and cancellation counts in the seven day ends that follow it."""
    from pyspark.sql import functions as F

    departed = F.col("kind") == DEPARTURE
    delay = F.when(departed, F.col("dep_delay"))
    day = F.date_trunc("day", F.col("known_at"))
    day_ends = F.sequence(
        day + F.expr("INTERVAL 1 DAY"), day + F.expr(f"INTERVAL {WINDOW_DAYS} DAYS"), F.expr("INTERVAL 1 DAY")
    )
    return (
        facts(flights)
        .where(departed | (F.col("kind") == CANCELLATION))
        .withColumn("event_timestamp", F.explode(day_ends))
        .groupBy("carrier", "origin", "dest", "event_timestamp")
        .agg(
            F.count_if(departed).alias("flights_7d"),
            F.avg(delay).alias("mean_dep_delay_7d"),
            F.percentile(delay, 0.9).alias("p90_dep_delay_7d"),
            F.avg(F.when(departed, 0.0).otherwise(1.0)).alias("cancellation_rate_7d"),
        )
    )
