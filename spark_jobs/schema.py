"""Contracts as Spark schemas."""

from __future__ import annotations

from pyspark.sql import types as T

from spark_jobs.contract import Column, FeatureTable, RawTable

SPARK_TYPES: dict[str, T.DataType] = {
    "string": T.StringType(),
    "int32": T.IntegerType(),
    "int64": T.LongType(),
    "float32": T.FloatType(),
    "float64": T.DoubleType(),
    "bool": T.BooleanType(),
    "timestamp": T.TimestampType(),
}


def schema_of(table: RawTable | FeatureTable) -> T.StructType:
    """The columns of a raw or feature file in contract order, all nullable: null rules are audited, not assumed."""
    return T.StructType([T.StructField(column.name, spark_type(column)) for column in table.columns])


def spark_type(column: Column) -> T.DataType:
    """The Spark type of a column's values."""
    return SPARK_TYPES[column.dtype]
