"""The audit: every promise of a contract that a frame breaks, each as one sentence; and the rows of every interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from spark_jobs.contract import EVENT_TIMESTAMP, INTERVAL_START, Column, FeatureTable
from spark_jobs.schema import schema_of, spark_type

_DAYS_NAMED = 3


@dataclass(frozen=True)
class Audit:
    """Rows per partition value (null event times under None aside) and a sentence per broken promise."""

    rows: dict[str, int]
    broken: tuple[str, ...]


@dataclass(frozen=True)
class _Promise:
    """Rows for which `breach` holds break it; `example` of those rows is shown."""

    sentence: str
    breach: SparkColumn
    example: SparkColumn | None = None

    def aggregates(self, n: int) -> list[SparkColumn]:
        count = F.count_if(self.breach).alias(f"count_{n}")
        example = F.lit(None) if self.example is None else self.example
        # As text of the session's zone, which is UTC: collected as a timestamp it would be in the driver's zone.
        return [count, example.cast("string").alias(f"example_{n}")]


def broken_schema(frame: DataFrame, table: FeatureTable) -> tuple[str, ...]:
    """Missing, extra and retyped columns of a transform's result, all at once; reads no rows."""
    found = {field.name: field.dataType for field in frame.schema.fields}
    expected = {field.name: field.dataType for field in schema_of(table).fields}
    missing = [
        f"{name}: missing, expected {kind.simpleString()}" for name, kind in expected.items() if name not in found
    ]
    extra = [
        f"{name}: not in the contract, found {kind.simpleString()}"
        for name, kind in found.items()
        if name not in expected
    ]
    retyped = [
        f"{name}: expected {kind.simpleString()}, found {found[name].simpleString()}"
        for name, kind in expected.items()
        if name in found and found[name] != kind
    ]
    return (*missing, *extra, *retyped)


def audit_rows(frame: DataFrame, table: FeatureTable) -> Audit:
    """Judges rows that carry `interval_start`: null keys and event times, null rules, ranges, event times outside
    their interval, duplicate (keys, event_timestamp).

    A column of a wrong type is left to `broken_schema`; what depends on it is not judged.
    """
    kinds = {field.name: field.dataType for field in frame.schema.fields}
    columns = [column for column in table.columns if kinds.get(column.name) == spark_type(column)]
    promises = list(_promises(columns))
    aggregates = [aggregate for n, promise in enumerate(promises) for aggregate in promise.aggregates(n)]
    days = frame.groupBy(INTERVAL_START).agg(F.count("*").alias("rows"), *aggregates).collect()
    days.sort(key=lambda day: day[INTERVAL_START] or "")
    rows = {day[INTERVAL_START]: day["rows"] for day in days if day[INTERVAL_START] is not None}
    sentences = [sentence for n, promise in enumerate(promises) for sentence in _verdict(promise, n, days)]
    identity = [*(key.name for key in table.keys), EVENT_TIMESTAMP]
    if set(identity) <= {column.name for column in columns}:
        sentences += _duplicates(frame, identity)
    return Audit(rows, tuple(sentences))


def _promises(columns: Iterable[Column]) -> Iterator[_Promise]:
    for column in columns:
        value = F.col(column.name)
        if not column.nullable:
            yield _Promise(f"{column.name}: null", value.isNull())
        if column.minimum is not None:
            # NaN is the greatest number to Spark; it is below every minimum to us.
            below = (value < column.minimum) | F.isnan(value)
            yield _Promise(f"{column.name}: minimum {column.minimum}", below, F.min(F.when(below, value)))
        if column.maximum is not None:
            above = value > column.maximum
            yield _Promise(f"{column.name}: maximum {column.maximum}", above, F.max(F.when(above, value)))
        if column.name == EVENT_TIMESTAMP:
            start = F.to_timestamp(INTERVAL_START)
            outside = ~((value > start) & (value <= start + F.expr("INTERVAL 1 DAY")))
            yield _Promise(f"{column.name}: inside its interval", outside, F.min(F.when(outside, value)))


def _verdict(promise: _Promise, n: int, days: list[Row]) -> Iterator[str]:
    breached = [day for day in days if day[f"count_{n}"]]
    if breached:
        count = sum(day[f"count_{n}"] for day in breached)
        rows = f"{count} row{'s' if count > 1 else ''}"
        example = "" if promise.example is None else f", found {breached[0][f'example_{n}']}"
        names = [str(day[INTERVAL_START]) for day in breached[:_DAYS_NAMED]] + ["…"] * (len(breached) > _DAYS_NAMED)
        where = f" ({', '.join(names)})" if len(days) > 1 else ""
        yield f"{promise.sentence}{example} in {rows}{where}"


def _duplicates(frame: DataFrame, identity: list[str]) -> Iterator[str]:
    repeated = frame.groupBy(*identity).count().where("count > 1")
    texts = [F.col(name).cast("string") for name in identity]
    found = repeated.agg(F.count("*").alias("keys"), F.min(F.concat_ws(", ", *texts)).alias("example")).collect()[0]
    if found["keys"]:
        example = found["example"]
        keys = f"{found['keys']} duplicate key{'s' if found['keys'] > 1 else ''}"
        yield f"({', '.join(identity)}): {keys}, e.g. ({example})"
