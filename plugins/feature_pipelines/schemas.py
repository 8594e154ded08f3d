"""Contracts as Arrow schemas: how a contract's types are stored in Parquet and Delta."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from spark_jobs.contract import Column, FeatureTable, RawTable

ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}

EVENT_TIMESTAMP = pa.field("event_timestamp", ARROW_TYPES["timestamp"])
REASON = pa.field("reason", pa.string())


def raw_schema(contract: RawTable) -> pa.Schema:
    """The columns of a raw table, in contract order; all nullable in storage, the contract's null rule is checked."""
    return pa.schema(_fields(contract.columns))


def rejected_schema(contract: RawTable) -> pa.Schema:
    """The columns of a raw table's quarantine: the row as far as it could be read, and why it may not land."""
    return raw_schema(contract).append(REASON)


def feature_schema(table: FeatureTable) -> pa.Schema:
    """The columns of a feature table: keys, event_timestamp, features."""
    return pa.schema([*_fields(table.keys), EVENT_TIMESTAMP, *_fields(table.features)])


def _fields(columns: Iterable[Column]) -> list[pa.Field]:
    return [pa.field(column.name, ARROW_TYPES[column.dtype]) for column in columns]
