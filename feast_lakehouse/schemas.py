"""Comparing schemas so that one error names every difference at once."""

from __future__ import annotations

import pyarrow as pa
from deltalake import Schema

from feast_lakehouse.delta import BUILD_COLUMN, INTERVAL_COLUMN

PARTITION_COLUMNS = (INTERVAL_COLUMN, BUILD_COLUMN)


def differences(expected: pa.Schema, found: pa.Schema) -> list[str]:
    """One sentence for each missing, extra and retyped column. Order and nullability do not count."""
    missing = [
        f"column {name}: expected {expected.field(name).type}, missing"
        for name in expected.names
        if name not in found.names
    ]
    extra = [
        f"column {name}: not in the contract, found {found.field(name).type}"
        for name in found.names
        if name not in expected.names
    ]
    retyped = [
        f"column {name}: expected {expected.field(name).type}, found {found.field(name).type}"
        for name in expected.names
        if name in found.names and found.field(name).type != expected.field(name).type
    ]
    return missing + retyped + extra


def data_columns(table_schema: pa.Schema) -> pa.Schema:
    """A table's columns without the partition columns: what its Parquet files hold."""
    return pa.schema([column for column in table_schema if column.name not in PARTITION_COLUMNS])


def delta_schema(schema: pa.Schema) -> Schema:
    """The Delta schema of a table whose files have these columns: the columns, then the two partition columns."""
    return Schema.from_arrow(pa.schema([*schema, *(pa.field(name, pa.string()) for name in PARTITION_COLUMNS)]))


def new_columns(table: pa.Schema, wanted: pa.Schema) -> tuple[pa.Schema, list[str]]:
    """The columns `wanted` adds to a table, and why they or others cannot be accepted (empty when they can).

    Accepted: the same columns with the same types, and additional nullable ones.
    """
    live = data_columns(table)
    added = pa.schema([column for column in wanted if column.name not in live.names])
    problems = [p for p in differences(live, wanted) if "not in the contract" not in p]
    problems += [f"column {column.name}: a new column must be nullable" for column in added if not column.nullable]
    return added, problems
