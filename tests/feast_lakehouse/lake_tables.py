"""Small Delta tables for tests: a schema, rows, staged folders as Spark leaves them, and what a reader sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from feast_lakehouse.delta import TableRef
from feast_lakehouse.writing import writable_filesystem

PART = "part-00000-1a2b.c000.snappy.parquet"

SCHEMA = pa.schema(
    [
        pa.field("tailnum", pa.string(), nullable=False),
        pa.field("event_timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("flights", pa.int64()),
        pa.field("delay", pa.float64()),
    ]
)


def rows_of(day: str, count: int, *, first: int = 0) -> list[dict[str, Any]]:
    end = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
    return [
        {"tailnum": f"N{key:04}", "event_timestamp": end, "flights": key, "delay": key / 2}
        for key in range(first, first + count)
    ]


def batches_of(rows: list[dict[str, Any]], size: int = 1000, schema: pa.Schema = SCHEMA) -> list[pa.RecordBatch]:
    return pa.Table.from_pylist(rows, schema=schema).to_batches(max_chunksize=size)


def stage(
    ref: TableRef, order: str, intervals: Mapping[str, Iterable[dict[str, Any]]], schema: pa.Schema = SCHEMA
) -> str:
    """Parquet files and a report folder, laid out as Spark's partitioned write does. Empty intervals get no file."""
    folder = f"staging/{order}"
    write(ref, f"{folder}/report.json/part-00000.txt", b"{}")
    write(ref, f"{folder}/_SUCCESS", b"")
    for start, given in intervals.items():
        rows = list(given)
        if rows:
            # Spark writes every column as optional, whatever the contract says.
            optional = pa.schema([column.with_nullable(nullable=True) for column in schema])
            day = f"{folder}/interval_start={start}"
            write(ref, f"{day}/{PART}", parquet(pa.Table.from_pylist(rows, schema=optional)))
            write(ref, f"{day}/.{PART}.crc", b"x")
    return f"{ref.uri}/{folder}"


def parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def write(ref: TableRef, path: str, content: bytes) -> None:
    """A file inside the table's folder, wherever that is."""
    with writable_filesystem(ref).open_output_stream(path) as stream:
        stream.write(content)


def content(ref: TableRef, path: str) -> bytes:
    """The bytes of a file inside the table's folder."""
    with ref.filesystem().open_input_file(path) as stream:
        return bytes(stream.read())


def files(ref: TableRef, folder: str = "") -> list[str]:
    """Every file below a folder of the table."""
    selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
    return sorted(info.path for info in ref.filesystem().get_file_info(selector) if info.is_file)


def read(ref: TableRef) -> list[dict[str, Any]]:
    """Every row a reader sees now, with its interval, in a stable order."""
    state = ref.state()
    if not state.files:
        return []
    rows: list[dict[str, Any]] = ref.dataset(state.files, state.version).to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["interval_start"], row["tailnum"], row["event_timestamp"]))


def keys_of(ref: TableRef, interval: str) -> list[str]:
    return [row["tailnum"] for row in read(ref) if row["interval_start"] == interval]
