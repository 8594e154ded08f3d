"""Each broken promise has its sentence; sound rows have none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_jobs.audit import audit_rows, broken_schema
from spark_jobs.contract import Column, FeatureTable, Input
from spark_jobs.raw import FLIGHTS
from spark_jobs.schema import schema_of
from tests.spark_jobs.frames import at

TABLE = FeatureTable(
    name="aircraft",
    lake="on_prem",
    description="One row per aircraft and day.",
    owner="fleet",
    keys=(Column("tailnum", "string", "Tail number.", nullable=False),),
    features=(
        Column("flights", "int64", "Departures.", minimum=1, maximum=50, nullable=False),
        Column("delay", "float64", "Mean delay.", unit="minutes", minimum=-180),
    ),
    inputs=(Input(FLIGHTS),),
    ttl=timedelta(days=1),
)
Values = tuple[Any, ...]
SOUND: Values = ("N1", at("2013-01-02"), 3, 1.5, "2013-01-01")


def staged(spark: SparkSession, *rows: Values) -> DataFrame:
    schema = T.StructType([*schema_of(TABLE).fields, T.StructField("interval_start", T.StringType())])
    return spark.createDataFrame(list(rows), schema)


def changed(**values: Any) -> Values:
    names = ("tailnum", "event_timestamp", "flights", "delay", "interval_start")
    return tuple(values.get(name, value) for name, value in zip(names, SOUND, strict=True))


def test_sound_rows_are_counted_per_interval(spark: SparkSession) -> None:
    later = changed(event_timestamp=at("2013-01-03"), interval_start="2013-01-02")
    audit = audit_rows(staged(spark, SOUND, changed(tailnum="N2", delay=None), later), TABLE)
    assert audit.rows == {"2013-01-01": 2, "2013-01-02": 1}
    assert audit.broken == ()


def test_no_rows_are_sound(spark: SparkSession) -> None:
    audit = audit_rows(staged(spark), TABLE)
    assert (audit.rows, audit.broken) == ({}, ())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"tailnum": None}, "tailnum: null in 1 row"),
        ({"event_timestamp": None, "interval_start": None}, "event_timestamp: null in 1 row"),
        ({"flights": None}, "flights: null in 1 row"),
        ({"flights": 0}, "flights: minimum 1, found 0 in 1 row"),
        ({"flights": 51}, "flights: maximum 50, found 51 in 1 row"),
        ({"delay": -180.5}, "delay: minimum -180, found -180.5 in 1 row"),
        ({"delay": float("nan")}, "delay: minimum -180, found NaN in 1 row"),
        (
            {"event_timestamp": at("2013-01-01")},
            "event_timestamp: inside its interval, found 2013-01-01 00:00:00 in 1 row",
        ),
        (
            {"event_timestamp": at("2013-01-02 00:00:01")},
            "event_timestamp: inside its interval, found 2013-01-02 00:00:01 in 1 row",
        ),
    ],
)
def test_one_broken_promise(spark: SparkSession, values: dict[str, Any], sentence: str) -> None:
    assert audit_rows(staged(spark, changed(**values)), TABLE).broken == (sentence,)


def test_the_edges_of_a_range_and_of_an_interval_are_inside(spark: SparkSession) -> None:
    rows = [changed(flights=1, delay=-180.0), changed(flights=50, event_timestamp=at("2013-01-01 00:00:01"))]
    assert audit_rows(staged(spark, *rows), TABLE).broken == ()


def test_duplicate_keys_are_counted_with_an_example(spark: SparkSession) -> None:
    other_time = changed(event_timestamp=at("2013-01-01 12:00"))
    audit = audit_rows(staged(spark, SOUND, SOUND, SOUND, other_time, changed(tailnum="N2")), TABLE)
    assert audit.broken == ("(tailnum, event_timestamp): 1 duplicate key, e.g. (N1, 2013-01-02 00:00:00)",)


def test_everything_broken_is_named_at_once_with_its_intervals(spark: SparkSession) -> None:
    next_day = changed(event_timestamp=at("2013-01-03"), interval_start="2013-01-02", flights=-4)
    rows = [changed(flights=0), changed(flights=0, tailnum=None), next_day, changed(delay=-999.0), next_day]
    assert audit_rows(staged(spark, *rows), TABLE).broken == (
        "tailnum: null in 1 row (2013-01-01)",
        "flights: minimum 1, found 0 in 4 rows (2013-01-01, 2013-01-02)",
        "delay: minimum -180, found -999.0 in 1 row (2013-01-01)",
        "(tailnum, event_timestamp): 2 duplicate keys, e.g. (N1, 2013-01-02 00:00:00)",
    )


def test_missing_extra_and_retyped_columns_are_named_at_once(spark: SparkSession) -> None:
    frame = staged(spark, SOUND).select(
        "event_timestamp", F.col("flights").cast("int"), F.lit("x").alias("note"), F.col("delay"), F.lit(1).alias("day")
    )
    assert broken_schema(frame, TABLE) == (
        "tailnum: missing, expected string",
        "note: not in the contract, found string",
        "day: not in the contract, found int",
        "flights: expected bigint, found int",
    )
    assert broken_schema(staged(spark, SOUND).drop("interval_start"), TABLE) == ()


def test_values_of_the_columns_that_are_right_are_judged_even_when_others_are_not(spark: SparkSession) -> None:
    frame = staged(spark, changed(delay=-200.0)).drop("tailnum")
    assert audit_rows(frame, TABLE).broken == ("delay: minimum -180, found -200.0 in 1 row",)
