"""The newest weather known of each airport at the end of a UTC hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_jobs.contract import Column, FeatureTable, Input
from spark_jobs.raw import WEATHER, WEATHER_LATE_DAYS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

TABLE = FeatureTable(
    name="airport_weather_hourly",
    lake="cloud",
    description=(
        "One row per airport and UTC hour that brought news: a newer observation than was known an hour before, or a "
        "correction of that one. A value that was not measured is null."
    ),
    owner="airport-operations",
    keys=(Column("origin", "string", "Airport, FAA code.", nullable=False),),
    features=(
        Column("temp", "float64", "Temperature.", unit="°F", minimum=-80, maximum=140),
        Column("wind_speed", "float64", "Wind speed.", unit="mph", minimum=0, maximum=200),
        Column("visib", "float64", "Visibility.", unit="miles", minimum=0, maximum=100),
        Column("precip", "float64", "Precipitation of the hour.", unit="inches", minimum=0, maximum=20),
        Column("pressure", "float64", "Sea level pressure.", unit="mbar", minimum=850, maximum=1090),
    ),
    inputs=(Input(WEATHER, lookback_days=WEATHER_LATE_DAYS),),
)


def transform(weather: DataFrame) -> DataFrame:
    """A reading counts in the hour in which it became known: [hour, hour + 1 h), with the hour's end as event time.

    One that arrives late, when a newer observation of its airport is known already, is no news and makes no row. A
    newer observation than a late one's is about a later hour, so it cannot have become known before the late one's
    day: looking back as far as a reading may be late finds it.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.window import Window

    values = [column.name for column in TABLE.features]
    hour_end = F.date_trunc("hour", F.col("known_at")) + F.expr("INTERVAL 1 HOUR")
    # Structs compare field by field: the latest observation is the greatest, of its corrections the last one known.
    newest = F.max(F.struct("observed_at", "known_at", F.struct(*values).alias("told"))).alias("newest")
    earlier = Window.partitionBy("origin").orderBy("event_timestamp").rowsBetween(Window.unboundedPreceding, -1)
    is_newer = F.col("newest.observed_at") > F.col("before.observed_at")
    is_correction = (F.col("newest.observed_at") == F.col("before.observed_at")) & ~F.col("newest.told").eqNullSafe(
        F.col("before.told")
    )
    return (
        weather.groupBy("origin", hour_end.alias("event_timestamp"))
        .agg(newest)
        .withColumn("before", F.max("newest").over(earlier))
        .where(F.col("before").isNull() | is_newer | is_correction)
        .select("origin", "event_timestamp", *(F.col(f"newest.told.{name}").alias(name) for name in values))
    )
