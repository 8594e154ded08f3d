"""What became known about flights, and when: the one place where raw flights turn into dated facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

DEPARTURE, ARRIVAL, CANCELLATION = "departure", "arrival", "cancellation"

LOOKBACK_DAYS = 2
"""A fact of a flight becomes known at most this many days after its scheduled UTC day (landing refuses later ones)."""


def facts(flights: DataFrame) -> DataFrame:
    """One row per fact: the flight's columns, `kind`, `happened_at` and `known_at` (UTC).

    A flight has a departure and, once landed, an arrival; or else a cancellation, which happens at the scheduled
    departure. A fact is known when it happens, but not before the UTC day of the scheduled departure begins: until
    then its raw row belongs to an interval that lies in the future (some flights leave early across midnight).
    """
    from pyspark.sql import functions as F

    def fact(kind: str, happened_at: str) -> Column:
        return F.struct(F.lit(kind).alias("kind"), F.col(happened_at).alias("happened_at"))

    candidates = F.array(
        F.when(~F.col("cancelled"), fact(DEPARTURE, "departed_at")),
        F.when(~F.col("cancelled"), fact(ARRIVAL, "arrived_at")),
        F.when(F.col("cancelled"), fact(CANCELLATION, "scheduled_at")),
    )
    known_at = F.greatest(F.col("happened_at"), F.date_trunc("day", F.col("scheduled_at")))
    return (
        flights.withColumn("fact", F.explode(candidates))
        .where("fact.happened_at IS NOT NULL")
        .select(*flights.columns, "fact.kind", "fact.happened_at")
        .withColumn("known_at", known_at)
    )
