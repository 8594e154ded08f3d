"""Exactly chosen data files of a Delta table as a DuckDB relation, read by DuckDB's own Parquet reader on any lake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa

from feast_lakehouse.delta import TableRef, TableState
from feast_lakehouse.errors import DataError, TransportError, VersionUnavailable
from feast_lakehouse.table_files import BlockCache, TableFiles

ROW = "__row"
"""Where a row stands among the files of a relation: (number of the file << 40) + number of the row in it, unique."""

_ROW_BITS = 40
_FILE = "__file"

TAKEN: Final = frozenset(
    {"file_index", "file_row_number", ROW, _FILE, "__micros", "__created", "__at", "__rows", "__lost"}
)
"""DuckDB's names for a row's place, and the engine's own; DuckDB does not tell capitals from small letters in names."""


class Scanner:
    """Relations of one DuckDB connection. Sets the session's time zone to UTC, which Delta's timestamps are in."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._made = 0
        self._remote: list[TableFiles] = []
        self._blocks = BlockCache()
        # A file is read once or twice per connection: what is kept of it would only fill the memory. And row groups may
        # be of any size, so none is fetched whole.
        connection.execute(
            "SET TimeZone = 'UTC'; SET enable_external_file_cache = false; SET disable_parquet_prefetching = true"
        )

    def relation(self, ref: TableRef, state: TableState, paths: Iterable[str], columns: Iterable[str]) -> str:
        """SQL, in parentheses, of the rows of these files: the wanted columns in the table's types, and ROW.

        A column that a file does not have, because it was added later, is null there. Files are numbered in the order
        of their paths, so ROW is the same in every process, unless the table has a column that is TAKEN. Raises
        VersionUnavailable for a path outside the version.
        """
        wanted, chosen = sorted(set(columns)), sorted(paths)
        for path in chosen:
            if path not in state.files:
                raise VersionUnavailable(f"{ref.uri}: version {state.version} has no file {path}")
        self._made += 1
        empty = self._register(f"empty_{self._made}", _empty(state.schema, wanted))
        names = ", ".join(map(quoted, wanted))
        if not chosen:
            return f"(SELECT {names}, 0::UBIGINT AS {ROW} FROM {empty})"
        partitioned = [name for name in wanted if name in next(iter(state.files.values())).partition]
        read = f"read_parquet({self._addresses(ref, state, chosen, len(wanted))}, union_by_name = true, hive_partitioning = false)"
        row = f"(file_index::UBIGINT << {_ROW_BITS}) + file_row_number::UBIGINT AS {ROW}"
        rows = f"SELECT *, {row} FROM {read}"
        if partitioned:
            values = self._register(f"partitions_{self._made}", _partitions(state, chosen, partitioned))
            stored = f"COLUMNS(lambda name: name NOT IN {(*partitioned, '')!r})"
            numbered = f"(SELECT {stored}, {row}, file_index AS {_FILE} FROM {read})"
            rows = f"SELECT * EXCLUDE ({_FILE}) FROM {numbered} JOIN {values} USING ({_FILE})"
        # The empty relation brings the table's types, and the columns that none of the files has.
        typed = f"(FROM {empty} UNION ALL BY NAME {rows})"
        return f"(SELECT {names}, {ROW} FROM {typed})"

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise what the storage said, where DuckDB fails inside the block because of it."""
        try:
            yield
        except duckdb.Error:
            for files in self._remote:
                if files.failure:
                    raise files.failure from None
            raise

    def _register(self, name: str, table: pa.Table) -> str:
        self._connection.register(name, table)
        return name

    def _addresses(self, ref: TableRef, state: TableState, paths: list[str], columns: int) -> str:
        folder = local_folder(ref.uri)
        if folder is not None:
            return _listed(str(folder / path) for path in paths)
        protocol = f"lake{self._made}"
        sizes = {path: state.files[path].size for path in paths}
        files = TableFiles(ref, sizes, protocol, columns=columns, blocks=self._blocks)
        self._remote.append(files)
        self._connection.register_filesystem(files)
        return _listed(f"{protocol}://{path}" for path in paths)


def refuse_taken(ref: TableRef, state: TableState) -> None:
    """Raises DataError for a table whose rows would be numbered or counted by a column of its own that is TAKEN."""
    if taken := [name for name in state.schema.names if name.lower() in TAKEN]:
        raise DataError(
            f"{ref.uri}: expected no column called {', '.join(sorted(TAKEN))}, found {taken}: rows are told apart "
            "under these names. Rename it in the table; field_mapping of the data source gives it any name in a view."
        )


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn DuckDB's and the storage's errors inside the block into ours; `what` is what was being read."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise DataError(f"{what}: DuckDB's memory_limit is too small, or its spill_folder is full: {error}") from error
    except (duckdb.InvalidInputException, duckdb.IOException, OSError) as error:
        # A file that went away meanwhile (the table was created anew, or vacuumed) is not there in the next plan.
        raise TransportError(f"{what}: a file could not be read: {error}") from error
    except duckdb.Error as error:
        raise DataError(f"{what}: {error}") from error


def local_folder(uri: str) -> Path | None:
    """The folder of a path or file:// URI; None for anything else."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri else Path(uri)


def _empty(schema: pa.Schema, columns: list[str]) -> pa.Table:
    return pa.schema([schema.field(name) for name in columns]).empty_table()


def _partitions(state: TableState, paths: list[str], columns: list[str]) -> pa.Table:
    """The partition values of each file, by its number."""
    values: Mapping[str, list[Any]] = {name: [state.files[path].partition[name] for path in paths] for name in columns}
    typed = {name: pa.array(found, pa.string()).cast(state.schema.field(name).type) for name, found in values.items()}
    return pa.table({_FILE: pa.array(range(len(paths)), pa.uint64()), **typed})


def _listed(texts: Iterable[str]) -> str:
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
