"""Literal raw rows in, plain dicts out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from spark_jobs.contract import RawTable
from spark_jobs.raw import FLIGHTS, WEATHER
from spark_jobs.schema import schema_of

Row = dict[str, Any]


def at(text: str) -> datetime:
    """ "2013-01-01 10:00" as an instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def flight(scheduled: str, *, dep_delay: float | None = 0, minutes: float | None = 90, **values: object) -> Row:
    """A flight; dep_delay None is a cancellation, minutes (of flying) None a flight that did not arrive."""
    scheduled_at = at(scheduled)
    departed_at = None if dep_delay is None else scheduled_at + timedelta(minutes=dep_delay)
    arrived_at = None if departed_at is None or minutes is None else departed_at + timedelta(minutes=minutes)
    row: Row = {
        "carrier": "UA",
        "flight": 1,
        "tailnum": "N1",
        "origin": "EWR",
        "dest": "IAH",
        "scheduled_at": scheduled_at,
        "departed_at": departed_at,
        "arrived_at": arrived_at,
        "dep_delay": None if dep_delay is None else float(dep_delay),
        "arr_delay": None if arrived_at is None else float((dep_delay or 0) - 5),
        "distance": 1400.0,
        "cancelled": dep_delay is None,
    }
    return row | values


def random_flights(seed: int, *, first: str, days: int, per_day: int) -> list[Row]:
    """Like the real ones: some early, across midnight, hours late, cancelled, diverted or without a tail number."""
    dice = random.Random(seed)
    rows = []
    for n in range(days * per_day):
        scheduled = at(first) + timedelta(days=n // per_day, minutes=dice.choice([0, 1, 59, 60, dice.randrange(1440)]))
        delay = dice.choice([None, -20.0, -2.0, 0.0, 7.0, 61.0, float(dice.randrange(1400))])
        row = flight(
            scheduled.strftime("%Y-%m-%d %H:%M"),
            dep_delay=delay,
            minutes=dice.choice([None, 30, 180, 700]),
            carrier=dice.choice(["UA", "B6"]),
            flight=n + 1,
            tailnum=dice.choice(["N1", "N2", "N3", None]),
            origin=dice.choice(["EWR", "JFK"]),
            dest=dice.choice(["IAH", "ORD"]),
            distance=float(dice.randrange(100, 3000)),
        )
        rows.append(row)
    return rows


def hour(observed: str, **values: object) -> Row:
    """A weather row, known at minute 59 of its hour; what is not given was not measured."""
    empty = dict.fromkeys(column.name for column in WEATHER.columns)
    known_at = at(observed) + timedelta(minutes=59)
    return {**empty, "origin": "EWR", "observed_at": at(observed), "known_at": known_at, **values}


def frame(spark: SparkSession, raw: RawTable, rows: Iterable[Row]) -> DataFrame:
    """The rows as a frame of the raw table's schema."""
    schema = schema_of(raw)
    return spark.createDataFrame([tuple(row[name] for name in schema.names) for row in rows], schema)


def flights(spark: SparkSession, *rows: Row) -> DataFrame:
    return frame(spark, FLIGHTS, rows)


def dicts(result: DataFrame) -> list[Row]:
    """Its rows with aware UTC instants, sorted by their values."""
    times = {field.name for field in result.schema.fields if isinstance(field.dataType, T.TimestampType)}
    # Spark collects timestamps as naive instants in this process's zone.
    rows = [
        {
            name: value.astimezone(UTC) if name in times and value is not None else value
            for name, value in row.asDict().items()
        }
        for row in result.collect()
    ]
    return sorted(rows, key=lambda row: [str(value) for value in row.values()])
