"""The weather at each airport in a UTC hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_jobs.contract import Column, FeatureTable, Input
from spark_jobs.raw import WEATHER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

TABLE = FeatureTable(
    name="airport_weather_hourly",
    lake="cloud",
    description="One row per airport and UTC hour of observation; a value that was not measured is null.",
    owner="airport-operations",
    keys=(Column("origin", "string", "Airport, FAA code.", nullable=False),),
    features=(
        Column("temp", "float64", "Temperature.", unit="°F", minimum=-80, maximum=140),
        Column("wind_speed", "float64", "Wind speed.", unit="mph", minimum=0, maximum=200),
        Column("visib", "float64", "Visibility.", unit="miles", minimum=0, maximum=100),
        Column("precip", "float64", "Precipitation of the hour.", unit="inches", minimum=0, maximum=20),
        Column("pressure", "float64", "Sea level pressure.", unit="mbar", minimum=850, maximum=1090),
    ),
    inputs=(Input(WEATHER),),
)


def transform(weather: DataFrame) -> DataFrame:
    """The hour's observation is known at the hour's end."""
    from pyspark.sql import functions as F

    hour_end = F.col("observed_at") + F.expr("INTERVAL 1 HOUR")
    return weather.select(
        "origin", hour_end.alias("event_timestamp"), "temp", "wind_speed", "visib", "precip", "pressure"
    )
