"""One Delta commit that replaces whole intervals of a table, and loses to any commit that touched them meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import CommitProperties, DeltaTable, Field, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from feast_lakehouse.delta import BUILD_COLUMN, INTERVAL_COLUMN, FileEntry, TableRef, TableState, table_state
from feast_lakehouse.errors import TableMissing
from feast_lakehouse.schemas import PARTITION_COLUMNS, delta_schema, new_columns

TABLE_PROPERTIES: Final = {
    "delta.logRetentionDuration": "interval 365 days",
    "delta.deletedFileRetentionDuration": "interval 30 days",
}
"""Set when a table is created. The log must outlive every version an online store may hold."""

PATIENCE_SECONDS: Final = 120.0
"""How long a writer keeps retrying while others commit to other intervals of the table."""


class CommitConflict(Exception):
    """The table moved since the snapshot: look again and decide again. Never leaves this package."""


@dataclass(frozen=True)
class NewFile:
    """A Parquet file that exists inside the table's folder and is to become part of one interval."""

    path: str
    size: int
    rows: int
    interval: str
    build: str
    modified_ms: int


@dataclass(frozen=True)
class Snapshot:
    """A table as it was when looked at; `table` and `state` are None when there was none."""

    table: DeltaTable | None
    state: TableState | None

    @classmethod
    def take(cls, ref: TableRef) -> Snapshot:
        """The table now. Raises what `TableRef.open` raises, except TableMissing."""
        try:
            table = ref.open()
        except TableMissing:
            return cls(None, None)
        return cls(table, table_state(table))

    @property
    def version(self) -> int:
        """The version looked at, -1 without a table."""
        return self.state.version if self.state else -1

    def files(self, intervals: Iterable[str]) -> list[FileEntry]:
        """The live files of these intervals."""
        wanted = frozenset(intervals)
        entries = self.state.files.values() if self.state else ()
        return [entry for entry in entries if entry.partition[INTERVAL_COLUMN] in wanted]

    def builds(self, intervals: Iterable[str]) -> dict[str, str]:
        """Live build per interval; an interval that is not there is absent."""
        return {str(f.partition[INTERVAL_COLUMN]): str(f.partition[BUILD_COLUMN]) for f in self.files(intervals)}


def replace_intervals(ref: TableRef, seen: Snapshot, files: Iterable[NewFile], *, schema: pa.Schema) -> None:
    """Makes `files` the whole content of their intervals, in one commit on top of `seen`.

    Writes to other intervals since `seen` do not matter. Raises CommitConflict when one of these intervals was
    touched (a per-interval application transaction makes even two first writers collide), when the table was created
    or its schema changed meanwhile, or after this call had to add columns first. TransportError for storage.
    """
    added = list(files)
    intervals = sorted({file.interval for file in added})
    try:
        if seen.table is None:
            _create(ref, added, intervals, schema)
        elif not _add_columns(seen, schema):
            _commit(ref, seen, added, intervals)
        else:
            raise CommitConflict("columns were added first")
    except CommitFailedError as error:
        raise CommitConflict(str(error)) from error
    except (DeltaError, OSError) as error:
        if seen.table is None and ref.exists():
            raise CommitConflict(str(error)) from error
        raise ref.failed("the commit could not be written", error) from None


def _create(ref: TableRef, files: list[NewFile], intervals: list[str], schema: pa.Schema) -> None:
    create_table_with_add_actions(
        ref.uri,
        delta_schema(schema),
        [_add(file) for file in files],
        mode="error",
        partition_by=list(PARTITION_COLUMNS),
        configuration=TABLE_PROPERTIES,
        storage_options=ref.options(),
        commit_properties=_properties(ref, None, files, intervals),
    )


def _commit(ref: TableRef, seen: Snapshot, files: list[NewFile], intervals: list[str]) -> None:
    if seen.table is None or seen.state is None:
        raise CommitConflict("no table")
    now_ms = time.time_ns() // 1_000_000  # vacuum counts a removed file's age from here
    live, wanted = seen.files(intervals), {file.path for file in files}
    kept = wanted & {entry.path for entry in live}
    added = [_add(file) for file in files if file.path not in kept]
    removed = [_remove(entry, now_ms) for entry in live if entry.path not in kept]
    seen.table.create_write_transaction(
        [*added, *removed],
        "append",
        seen.table.schema(),
        list(PARTITION_COLUMNS),
        commit_properties=_properties(ref, seen.table, files, intervals),
    )


def _add_columns(seen: Snapshot, schema: pa.Schema) -> bool:
    if seen.table is None or seen.state is None:
        return False
    added, _ = new_columns(seen.state.schema, schema)
    if len(added) == 0:
        return False
    fields = {field.name: field for field in delta_schema(schema).fields}
    seen.table.alter.add_columns([Field(name, fields[name].type, nullable=True) for name in added.names])
    return True


def _properties(
    ref: TableRef, table: DeltaTable | None, files: list[NewFile], intervals: list[str]
) -> CommitProperties:
    name = ref.uri.rstrip("/").rsplit("/", 1)[-1]
    ids = [f"{name}/{interval}" for interval in intervals]
    retries = None if table else 0  # delta-rs would retry a creation on top of another one: twice the rows
    last = {app_id: (table.transaction_version(app_id) if table else None) for app_id in ids}
    builds = {file.interval: file.build for file in files}
    return CommitProperties(
        custom_metadata={"builds": json.dumps(builds, sort_keys=True), "rows": str(sum(file.rows for file in files))},
        app_transactions=[Transaction(app_id, (seen or 0) + 1) for app_id, seen in last.items()],
        max_commit_retries=retries,
    )


def _add(file: NewFile) -> AddAction:
    partition = {INTERVAL_COLUMN: file.interval, BUILD_COLUMN: file.build}
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values=partition,
        modification_time=file.modified_ms,
        data_change=True,
        stats=json.dumps({"numRecords": file.rows}),
    )


def _remove(entry: FileEntry, now_ms: int) -> RemoveAction:
    return RemoveAction(
        entry.path, data_change=True, deletion_timestamp=now_ms, size=entry.size, partition_values=dict(entry.partition)
    )


def new_file(filesystem: pafs.FileSystem, path: str, *, rows: int, interval: str, build: str) -> NewFile:
    """Describes a file that was just written, with the size and time storage reports. Raises OSError for none."""
    if not (info := filesystem.get_file_info(path)).is_file:
        raise FileNotFoundError(f"{path}: expected the file that was just written, storage does not show it")
    return from_info(info, rows=rows, interval=interval, build=build, path=path)


def from_info(info: Any, *, path: str, rows: int, interval: str, build: str) -> NewFile:
    """Describes a listed file (`pyarrow.fs.FileInfo`)."""
    return NewFile(path, int(info.size), rows, interval, build, int((info.mtime_ns or 0) // 1_000_000))


def interval_path(interval: str, build: str, name: str) -> str:
    """Where a data file of an interval goes, relative to the table."""
    return f"{INTERVAL_COLUMN}={interval}/{BUILD_COLUMN}={build}/{name}"


def retry_pause(attempt: int) -> None:
    """Sleeps 20 ms doubling to 1 s, spread by process so that colliding writers part."""
    time.sleep(min(1.0, 0.02 * 2**attempt) * (0.5 + (os.getpid() + attempt * 7) % 16 / 16))
