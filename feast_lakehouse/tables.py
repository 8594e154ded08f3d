"""Landing: one interval of a table written from Arrow batches, with constant memory and no commit for what is there."""

from __future__ import annotations

import re
import tempfile
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from feast_lakehouse.commits import (
    PATIENCE_SECONDS,
    CommitConflict,
    NewFile,
    Snapshot,
    interval_path,
    new_file,
    replace_intervals,
    retry_pause,
)
from feast_lakehouse.content import ContentHash
from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.schemas import differences, new_columns
from feast_lakehouse.writing import writable_filesystem

ROW_GROUP_ROWS: Final = 131_072
COPY_BYTES: Final = 4 << 20
INTERVAL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Written:
    """What a landing left: `version` is the table's version that has it, `build` the hash of its rows."""

    version: int
    build: str
    rows: int
    changed: bool


@dataclass(frozen=True)
class _Spool:
    path: Path
    build: str
    rows: int


def write_interval(
    ref: TableRef,
    interval_start: str,
    batches: Iterable[pa.RecordBatch],
    *,
    schema: pa.Schema,
    allow_shrink: bool = False,
    seen: Snapshot | None = None,
) -> Written:
    """Makes the rows of `batches` the whole content of one interval, in one commit, and returns what is there now.

    The build is the hash of the rows, whatever their order and batches (see ContentHash): the same rows again are no
    commit. Zero rows leave a zero-row file. The table is looked at before the first batch is drawn (a caller whose
    batches were read before gives what it had `seen` until then), so whatever another landing of this interval committed
    meanwhile is newer than what was read here: then this one stops with TransportError and the caller reads its source
    again.

    Raises DataError when a batch does not have the columns of `schema`, has a null in a non-nullable one, when the
    table's columns differ in more than additional nullable ones, or when the interval would lose rows without
    `allow_shrink`. Nothing has changed then.
    """
    if not INTERVAL_NAME.fullmatch(interval_start):
        raise DataError(f"{ref.uri}: interval {interval_start!r} must be a plain name such as 2013-01-01.")
    seen = seen or Snapshot.take(ref)
    _refuse_schema(ref, seen, schema)
    with tempfile.TemporaryDirectory(prefix="landing-") as folder:
        spool = _spool(ref, interval_start, batches, schema, Path(folder))
        if seen.builds([interval_start]) == {interval_start: spool.build}:
            return Written(seen.version, spool.build, spool.rows, changed=False)
        if not allow_shrink:
            _refuse_shrink(ref, seen, interval_start, spool.rows)
        uploaded = _upload(ref, interval_start, spool)
    return _commit(ref, seen, uploaded, schema=schema, deadline=time.monotonic() + PATIENCE_SECONDS)


def _commit(ref: TableRef, first: Snapshot, file: NewFile, *, schema: pa.Schema, deadline: float) -> Written:
    seen, attempt = first, 0
    while True:
        try:
            replace_intervals(ref, seen, [file], schema=schema)
            return Written(ref.state().version, file.build, file.rows, changed=True)
        except CommitConflict as conflict:
            if time.monotonic() > deadline:
                raise TransportError(
                    f"{ref.uri} {file.interval}: no commit got through in time: {conflict}"
                ) from conflict
            retry_pause(attempt)
        seen, attempt = Snapshot.take(ref), attempt + 1
        live = seen.builds([file.interval])
        if live == {file.interval: file.build}:
            return Written(seen.version, file.build, file.rows, changed=False)
        if seen.files([file.interval]) != first.files([file.interval]):
            raise TransportError(
                f"{ref.uri} {file.interval}: another landing committed build {live.get(file.interval)} while this one "
                f"read its source; nothing was changed. Land again: what is there may be newer than what was read."
            )
        _refuse_schema(ref, seen, schema)


def _spool(ref: TableRef, interval: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> _Spool:
    path, content = folder / "interval.parquet", ContentHash(schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(_conform(ref, interval, batch, schema))
            content.add(waiting[-1])
            if sum(part.num_rows for part in waiting) >= ROW_GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=ROW_GROUP_ROWS)
                waiting.clear()
        writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=ROW_GROUP_ROWS)
    return _Spool(path, content.hexdigest(), content.rows)


def _conform(ref: TableRef, interval: str, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    problems = differences(schema, batch.schema)
    if not problems:
        batch = batch.select(schema.names).cast(schema, safe=True) if _nulls_fit(batch, schema) else batch
        problems = [
            f"column {column.name}: {batch.column(column.name).null_count} nulls, none allowed"
            for column in schema
            if not column.nullable and batch.column(column.name).null_count
        ]
    if problems:
        raise DataError(
            "\n  ".join([f"{ref.uri} {interval}: {len(problems)} promises broken, nothing landed", *problems])
        )
    return batch


def _nulls_fit(batch: pa.RecordBatch, schema: pa.Schema) -> bool:
    return all(column.nullable or batch.column(column.name).null_count == 0 for column in schema)


def _refuse_schema(ref: TableRef, seen: Snapshot, schema: pa.Schema) -> None:
    if seen.state is None:
        return
    _, problems = new_columns(seen.state.schema, schema)
    if problems:
        raise DataError(
            "\n  ".join([f"{ref.uri}: the table's columns cannot become these, nothing landed", *problems])
            + "\nOnly additional nullable columns are accepted; for anything else write a new table."
        )


def _refuse_shrink(ref: TableRef, seen: Snapshot, interval: str, rows: int) -> None:
    live = sum(entry.rows or 0 for entry in seen.files([interval]))
    if rows < live:
        raise DataError(
            f"{ref.uri} {interval}: {live} rows are there, the source now has {rows}. A landing never shrinks an "
            "interval: check the source, or land with allow_shrink if rows were really withdrawn. Nothing landed."
        )


def _upload(ref: TableRef, interval: str, spool: _Spool) -> NewFile:
    filesystem = writable_filesystem(ref)
    path = interval_path(interval, spool.build, f"part-{uuid.uuid4().hex}.parquet")
    try:
        with spool.path.open("rb") as source, filesystem.open_output_stream(path) as target:
            while chunk := source.read(COPY_BYTES):
                target.write(chunk)
        return new_file(filesystem, path, rows=spool.rows, interval=interval, build=spool.build)
    except (DeltaError, OSError) as error:
        raise ref.failed(f"the data file of {interval} could not be written", error) from None
