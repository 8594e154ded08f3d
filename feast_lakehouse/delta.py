"""Reading Delta tables without a JVM: a table's address, its state at a version, and exactly chosen files of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from feast_lakehouse.errors import DataError, LakehouseError, TableMissing, TransportError, VersionUnavailable
from feast_lakehouse.storage import AZURE, check_address, patient_options, require_namenode, scheme_of
from feast_lakehouse.storage_errors import storage_error

READABLE_FEATURES = frozenset({"timestampNtz", "v2Checkpoint"})
"""Delta reader features that change nothing about which rows a plain Parquet reader sees."""

INTERVAL_COLUMN, BUILD_COLUMN = "interval_start", "build"
"""Partition columns of this project's tables. Foreign tables may be partitioned in any way."""


@dataclass(frozen=True)
class FileEntry:
    """One live data file: its path inside the table (as the storage names it; the log writes it percent-encoded), size in
    bytes, rows if the log knows them, partition values.
    """

    path: str
    size: int
    rows: int | None
    partition: Mapping[str, str | None]


@dataclass(frozen=True)
class TableState:
    """A table at one version. `files` maps each live file's path to its entry; `table_id` is Delta's own."""

    version: int
    table_id: str
    schema: pa.Schema
    files: Mapping[str, FileEntry]

    @property
    def fingerprint(self) -> str:
        """Tells this version from another one of the same number: which files it is made of, 16 hex digits."""
        return hashlib.blake2b("\0".join(sorted(self.files)).encode(), digest_size=8).hexdigest()

    def live_builds(self) -> dict[str, str]:
        """Maps interval_start to build. Only for tables partitioned by interval_start and build."""
        entries = (entry.partition for entry in self.files.values())
        return {str(p[INTERVAL_COLUMN]): str(p[BUILD_COLUMN]) for p in entries}


@dataclass(frozen=True)
class TableRef:
    """Where a Delta table is: a path, file://, hdfs:// or abfss:// URI, and the options (secrets) to reach it.

    `place` is what an error tells to check: the lake, and the connection its credentials come from. Raises DataError
    for a scheme that nothing can open.
    """

    uri: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_address(self.uri, place=self.place)

    def open(self, version: int | None = None) -> DeltaTable:
        """The table, at its newest version unless told.

        Raises TableMissing, VersionUnavailable, DataError for a table whose rows plain Parquet reading would get
        wrong (deletion vectors, column mapping, unknown reader features) and for storage that refuses this user,
        TransportError for unreachable storage.
        """
        require_namenode(self.uri, place=self.place)
        try:
            table = DeltaTable(self.uri, version=version, storage_options=self.options())
        except TableNotFoundError as error:
            if version is not None and self.exists():
                raise VersionUnavailable(f"{self.uri}: version {version} is no longer in the log.") from error
            raise TableMissing(
                f"{self.uri}: expected a Delta table, found none. Has anything been published there?"
            ) from error
        except DeltaError as error:
            if version is not None:
                raise self.failed(f"version {version} cannot be read", error, otherwise=VersionUnavailable) from None
            raise self.failed("the Delta log cannot be read", error, otherwise=DataError) from None
        except OSError as error:
            raise self.failed("the Delta log cannot be read", error) from None
        _refuse_unreadable(self.uri, table)
        return table

    def exists(self) -> bool:
        """Whether a Delta table is there. Raises DataError and TransportError as `open` does."""
        require_namenode(self.uri, place=self.place)
        try:
            if scheme_of(self.uri) in AZURE:
                # is_deltatable would stop every other thread of this process while it waits for an account.
                DeltaTable(self.uri, storage_options=self.options())
                return True
            return DeltaTable.is_deltatable(self.uri, self.options())
        except TableNotFoundError:
            return False
        except (DeltaError, OSError) as error:
            raise self.failed("storage cannot be used", error) from None

    def options(self) -> dict[str, str] | None:
        """What deltalake is given to reach the table."""
        return patient_options(self.uri, self.storage_options)

    def failed(
        self, doing: str, error: BaseException, *, otherwise: type[LakehouseError] = TransportError
    ) -> LakehouseError:
        """A storage client's error as ours, without any secret in it; to be raised `from None`."""
        return storage_error(
            self.uri, doing, error, place=self.place, options=self.storage_options, otherwise=otherwise
        )

    def state(self, version: int | None = None) -> TableState:
        """The table's version, id, schema and live files, read from the log alone. Raises what `open` raises."""
        return table_state(self.open(version))

    def live_builds(self) -> dict[str, str]:
        """Maps interval_start to the live build; empty when the table does not exist yet."""
        try:
            return self.state().live_builds()
        except TableMissing:
            return {}

    def filesystem(self) -> pafs.FileSystem:
        """A filesystem rooted at the table's folder, over the same client that reads the log."""
        return pafs.PyFileSystem(DeltaStorageHandler(self.uri, self.options()))

    def dataset(self, paths: Iterable[str], version: int) -> pads.Dataset:
        """Exactly these files of that version, partition columns filled in, in the table's schema."""
        wanted = frozenset(paths)
        whole = self.open(version).to_pyarrow_dataset()
        chosen = [f for f in whole.get_fragments() if f.path in wanted]
        if len(chosen) != len(wanted):
            missing = sorted(wanted - {f.path for f in chosen})
            raise VersionUnavailable(f"{self.uri}: version {version} has no file {missing[0]}")
        return pads.FileSystemDataset(chosen, whole.schema, whole.format, whole.filesystem)


def table_state(table: DeltaTable) -> TableState:
    """The state of an opened table."""
    partitions = table.metadata().partition_columns
    known = pa.table(table.get_add_actions(flatten=True))
    # Statistics may hold times that Python has no numbers for.
    actions = known.select([name for name in known.column_names if not name.startswith(("min.", "max."))]).to_pylist()
    files = {
        (path := unquote(str(action["path"]))): FileEntry(
            path,
            int(action["size_bytes"]),
            action.get("num_records"),
            {name: _text(action[f"partition.{name}"]) for name in partitions},
        )
        for action in actions
    }
    return TableState(table.version(), str(table.metadata().id), cast("pa.Schema", pa.schema(table.schema())), files)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _refuse_unreadable(uri: str, table: DeltaTable) -> None:
    unknown = frozenset(table.protocol().reader_features or ()) - READABLE_FEATURES
    mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping not in (None, "none"):
        unknown |= {"columnMapping"}
    if unknown:
        raise DataError(
            f"{uri}: the table needs reader features this engine does not have: {', '.join(sorted(unknown))}. "
            "Expected plain files without deletion vectors or column mapping; "
            "rewrite the table without them (for example REORG TABLE … APPLY (PURGE) and drop the feature)."
        )
