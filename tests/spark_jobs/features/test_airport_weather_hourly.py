from __future__ import annotations

from pyspark.sql import SparkSession

from spark_jobs.features.airport_weather_hourly import transform
from spark_jobs.raw import WEATHER
from tests.spark_jobs.frames import at, dicts, frame, hour


def test_an_hour_is_known_at_its_end_and_what_was_not_measured_is_null(spark: SparkSession) -> None:
    weather = frame(spark, WEATHER, [hour("2013-01-01 23:00", temp=39.02, visib=10.0, humid=50.0)])
    assert dicts(transform(weather=weather)) == [
        {
            "origin": "EWR",
            "event_timestamp": at("2013-01-02 00:00"),
            "temp": 39.02,
            "wind_speed": None,
            "visib": 10.0,
            "precip": None,
            "pressure": None,
        }
    ]
