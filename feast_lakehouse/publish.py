"""Publishing: files that Spark staged become whole intervals of a table, in one commit or not at all."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs
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
from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, StaleInputs, TransportError
from feast_lakehouse.schemas import new_columns
from feast_lakehouse.staged import Promise, staged_files
from feast_lakehouse.writing import writable_filesystem


@dataclass(frozen=True)
class Published:
    """What a publish left: `version` is a version of the table that has the intervals, `rows` their rows."""

    version: int
    changed: bool
    rows: int


def publish(
    ref: TableRef,
    staged_uri: str,
    intervals: Mapping[str, str],
    *,
    schema: pa.Schema,
    rows: Mapping[str, int],
    current_builds: Callable[[], Mapping[str, str]],
    force: bool = False,
) -> Published:
    """Makes the staged files the whole content of `intervals` (interval_start -> build), in one commit.

    `rows` is what the compute report says per interval; an interval reported as empty becomes a zero-row file.
    `current_builds` computes from the inputs as they are now which build each interval should have. It is asked after
    the table was looked at and before each commit attempt: a commit of anybody else to these intervals after that
    makes this one collide, look again and ask again, so a late publisher can never cover a newer one.

    Intervals that are live with these builds already are no commit, unless `force` and the staged files are others.
    Raises StaleInputs when an input moved, DataError naming every broken promise of the staged files or a schema that
    is not the table's plus nullable columns, TransportError when storage or too many conflicts stand in the way. In
    each case the table is as it was.
    """
    if not intervals:
        raise DataError(f"{ref.uri}: a publish needs at least one interval.")
    promise = Promise(intervals, rows, schema)
    deadline, first, attempt = time.monotonic() + PATIENCE_SECONDS, Snapshot.take(ref), 0
    if _is_live(first, intervals) and not force:
        return _unchanged(first, intervals)
    filesystem = writable_filesystem(ref)
    files = staged_files(ref, filesystem, staged_uri, promise)
    if _is_live(first, intervals) and {file.path for file in files} & {file.path for file in first.files(intervals)}:
        return _unchanged(first, intervals)
    seen, zero_rows = first, None
    while True:
        _refuse_schema(ref, seen, schema)
        _refuse_stale(ref, intervals, current_builds)
        zero_rows = zero_rows if zero_rows is not None else _zero_row_files(ref, filesystem, files, promise)
        try:
            replace_intervals(ref, seen, [*files, *zero_rows], schema=schema)
            return Published(ref.state().version, changed=True, rows=sum(file.rows for file in files))
        except CommitConflict as conflict:
            if time.monotonic() > deadline:
                raise TransportError(
                    f"{ref.uri}: no commit got through in {PATIENCE_SECONDS} s: {conflict}"
                ) from conflict
            retry_pause(attempt)
        seen, attempt = Snapshot.take(ref), attempt + 1
        if _is_live(seen, intervals) and seen.files(intervals) != first.files(intervals):
            return _unchanged(seen, intervals)


def _is_live(seen: Snapshot, intervals: Mapping[str, str]) -> bool:
    return seen.builds(intervals) == dict(intervals)


def _unchanged(seen: Snapshot, intervals: Mapping[str, str]) -> Published:
    return Published(seen.version, changed=False, rows=sum(entry.rows or 0 for entry in seen.files(intervals)))


def _refuse_stale(ref: TableRef, intervals: Mapping[str, str], current_builds: Callable[[], Mapping[str, str]]) -> None:
    current = current_builds()
    moved = {start: current.get(start, "none") for start, build in intervals.items() if current.get(start) != build}
    if moved:
        mine = {start: intervals[start] for start in moved}
        raise StaleInputs(
            f"{ref.uri}: the inputs of {len(moved)} intervals moved since they were computed. Computed from "
            f"{_told(mine)}; now {_told(moved)}. Nothing was published; compute these intervals again."
        )


def _refuse_schema(ref: TableRef, seen: Snapshot, schema: pa.Schema) -> None:
    problems = new_columns(seen.state.schema, schema)[1] if seen.state else []
    if problems:
        raise DataError(
            "\n  ".join([f"{ref.uri}: the table's columns cannot become these, nothing was published", *problems])
            + "\nOnly additional nullable columns are accepted; for anything else publish under a new table name."
        )


def _zero_row_files(
    ref: TableRef, filesystem: pafs.FileSystem, files: list[NewFile], promise: Promise
) -> list[NewFile]:
    """An interval without rows still needs a file: its build lives in the file's partition values."""
    empty = sorted(set(promise.builds) - {file.interval for file in files})
    return [_zero_row_file(ref, filesystem, interval, promise) for interval in empty]


def _zero_row_file(ref: TableRef, filesystem: pafs.FileSystem, interval: str, promise: Promise) -> NewFile:
    build = promise.builds[interval]
    path = interval_path(interval, build, f"empty-{uuid.uuid4().hex}.parquet")
    try:
        with filesystem.open_output_stream(path) as target:
            pq.write_table(promise.schema.empty_table(), target)
        return new_file(filesystem, path, rows=0, interval=interval, build=build)
    except (DeltaError, OSError) as error:
        raise ref.failed(f"the zero-row file of {interval} could not be written", error) from None


def _told(builds: Mapping[str, str]) -> str:
    """Builds in an error message."""
    return ", ".join(f"{interval}: {build}" for interval, build in sorted(builds.items())) or "none"
