"""How busy and how late each airport was in a UTC hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_jobs.contract import Column, FeatureTable, Input
from spark_jobs.flight_facts import DEPARTURE, LOOKBACK_DAYS, facts
from spark_jobs.raw import FLIGHTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

TABLE = FeatureTable(
    name="airport_hourly",
    lake="on_prem",
    description="One row per airport and UTC hour in which a flight departed.",
    owner="airport-operations",
    keys=(Column("origin", "string", "Airport of departure, FAA code.", nullable=False),),
    features=(
        Column("departures", "int64", "Departures in the hour.", minimum=1, maximum=1000, nullable=False),
        Column(
            "mean_dep_delay",
            "float64",
            "Mean delay of the hour's departures.",
            unit="minutes",
            minimum=-180,
            maximum=2880,
            nullable=False,
        ),
    ),
    inputs=(Input(FLIGHTS, lookback_days=LOOKBACK_DAYS),),
)


def transform(flights: DataFrame) -> DataFrame:
    """A departure counts in the hour in which it is known: [hour, hour + 1 h), with the hour's end as event time."""
    from pyspark.sql import functions as F

    hour_end = F.date_trunc("hour", F.col("known_at")) + F.expr("INTERVAL 1 HOUR")
    return (
        facts(flights)
        .where(F.col("kind") == DEPARTURE)
        .groupBy("origin", hour_end.alias("event_timestamp"))
        .agg(F.count("*").alias("departures"), F.avg("dep_delay").alias("mean_dep_delay"))
    )
