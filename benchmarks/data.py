"""The tables the benchmarks run over, made once per run: random numbers of a fixed seed, and the flights of 2013 many times.

Every table has the columns `id` (the key), `f0`, `f1`, … (float64) and `ts` (event time, µs, UTC), as a Delta table
(what ours reads) and, where a peer needs it, as one Parquet file with the same rows.
"""
# ruff: noqa: S608 - the SQL is made of constants and paths of this module

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2020, 1, 1, tzinfo=UTC)
"""Event times of random rows lie within the eleven days from here."""
FEATURES = 10
BLOCK = 250_000
"""Rows made at a time, so that making a table needs little memory."""
COPIED = ("dep_delay", "arr_delay", "air_time", "distance", "hour", "minute", "dep_time", "arr_time", "day", "month")
"""Columns of the flights that become f0 … f9."""


def schema(features: int = FEATURES) -> pa.Schema:
    """Key, features, event time."""
    numbers = [pa.field(f"f{n}", pa.float64()) for n in range(features)]
    return pa.schema([pa.field("id", pa.string()), *numbers, pa.field("ts", pa.timestamp("us", "UTC"))])


def distinct_rows(rows: int, features: int = FEATURES, *, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Rows with as many keys: key-0, key-1, and so on."""
    random = np.random.default_rng(seed)
    first = int(START.timestamp()) * 1_000_000
    for start in range(0, rows, BLOCK):
        size = min(BLOCK, rows - start)
        keys = pa.array([f"key-{n}" for n in range(start, start + size)])
        numbers = [pa.array(random.random(size)) for _ in range(features)]
        times = pa.array(first + random.integers(0, 10**12, size), pa.timestamp("us", "UTC"))
        yield pa.record_batch([keys, *numbers, times], schema=schema(features))


def make_distinct(folder: Path, rows: int, features: int, *, parquet: bool = True) -> dict[str, object]:
    """A table of distinct keys, and the same rows as Parquet if a peer will read them."""
    from deltalake import write_deltalake

    delta = folder / f"distinct-{rows}-{features}"
    if parquet:
        with pq.ParquetWriter(delta.with_suffix(".parquet"), schema(features)) as out:
            for batch in distinct_rows(rows, features):
                out.write_batch(batch)
    batches = pa.RecordBatchReader.from_batches(schema(features), distinct_rows(rows, features))
    write_deltalake(str(delta), batches)
    return {"path": str(delta), "rows": rows, "keys": rows}


def make_flights(folder: Path, rows: int) -> dict[str, object]:
    """About `rows` rows: the flights with a tail number, copy k as aircraft `tailnum-k`, k ms (and a part of the
    next ms that a hash chooses) later: Delta in a partition per day, and the same rows as Parquet.

    Few rows: only the first flights.
    """
    import duckdb
    from deltalake import write_deltalake

    delta, source = folder / f"flights-{rows}", _flights(folder)
    with duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(folder / "spill")}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE flights AS {_read_flights(source)}")
        known = _count(connection, "flights")
        copies = max(1, round(rows / known))
        connection.execute(_copy(delta.with_suffix(".parquet"), copies, limit=min(known, rows)))
        made = f"read_parquet('{delta.with_suffix('.parquet')}')"
        reader = connection.sql(f"SELECT *, strftime(ts, '%Y-%m-%d') AS day FROM {made}").to_arrow_reader(BLOCK)
        write_deltalake(str(delta), reader, partition_by=["day"])
        keys = _count(connection, f"(SELECT DISTINCT id FROM {made})")
        return {"path": str(delta), "rows": _count(connection, made), "keys": keys}


def _flights(folder: Path) -> Path:
    from feature_pipelines.packaged import packaged_folder

    with zipfile.ZipFile(packaged_folder() / "flights.csv.zip") as packed:
        return Path(packed.extract("flights.csv", folder))


def _read_flights(source: Path) -> str:
    numbers = ", ".join(f"{name}::DOUBLE AS f{n}" for n, name in enumerate(COPIED))
    scheduled = "make_timestamp(year, month, day, hour, minute, 0)"
    return (
        f"SELECT tailnum, {numbers}, epoch_us({scheduled}) AS micros, row_number() OVER () AS flight "
        f"FROM read_csv('{source}', nullstr='NA') WHERE tailnum IS NOT NULL"
    )


def _copy(target: Path, copies: int, *, limit: int) -> str:
    numbers = ", ".join(f"f{n}" for n in range(FEATURES))
    jitter = "hash(flight * 1000 + k) % 1000"
    return (
        f"COPY (SELECT tailnum || '-' || k AS id, {numbers}, make_timestamptz((micros + k * 1000 + {jitter})::BIGINT) AS ts "
        f"FROM flights, range({copies}) AS copied(k) WHERE flight <= {limit} ORDER BY micros // 86400000000, hash(flight, k)) "
        f"TO '{target}' (FORMAT parquet)"
    )


def _count(connection: Any, relation: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {relation}").fetchone()[0])


def main() -> None:
    """`python -m benchmarks.data distinct|distinct-delta FOLDER ROWS FEATURES` or `flights FOLDER ROWS`: path, rows and keys as JSON.

    A table that was made before is only told again.
    """
    kind, folder, *sizes = sys.argv[1:]
    makers: dict[str, Callable[..., dict[str, object]]] = {
        "distinct": make_distinct,
        "distinct-delta": partial(make_distinct, parquet=False),
        "flights": make_flights,
    }
    told = Path(folder) / f"{'-'.join([kind, *sizes])}.json"
    if not told.exists():
        told.write_text(json.dumps(makers[kind](Path(folder), *map(int, sizes))))
    print(told.read_text())


if __name__ == "__main__":
    main()
