"""The newest row of each key, out of core: DuckDB over exactly the files that changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID

from feast_lakehouse.delta import TableRef, TableState
from feast_lakehouse.errors import DataError
from feast_lakehouse.scan import ROW, Scanner, quoted
from feast_lakehouse.view import View

MICROS_COLUMN = "__micros"
"""Event time of a row in microseconds since 1970 UTC, in everything that comes out of here."""

_NEWEST = f"max({MICROS_COLUMN}::HUGEINT * 18446744073709551616 + {ROW})"
_PLACE = "18446744073709551615::HUGEINT"
"""Event time and place in one number; its lower 64 bits are the place."""

BATCH_BYTES = 16 << 20
"""At most about so many bytes of rows leave here at a time, however large a row is."""


@dataclass(frozen=True)
class Memory:
    """Limits of the DuckDB part of a run: its memory, where it may spill, how many fields of rows leave it at a time.

    What leaves it is encoded in one go: small enough for a core's cache, and for readers that share the core.
    """

    limit: str = "192MB"
    spill_folder: str = ""
    batch_fields: int = 48_000
    threads: int = 2

    def settings(self, spill: str) -> dict[str, Any]:
        """As DuckDB takes them."""
        return {
            "memory_limit": self.limit,
            "threads": self.threads,
            "preserve_insertion_order": False,
            "temp_directory": spill,
            "python_enable_replacements": False,
        }


@dataclass(frozen=True)
class Files:
    """Some data files of one version of a table."""

    ref: TableRef
    state: TableState
    paths: frozenset[str]

    @classmethod
    def whole(cls, ref: TableRef, state: TableState) -> Self:
        """Every file of the version."""
        return cls(ref, state, frozenset(state.files))


class NewestRows:
    """Questions about a view's rows. `whole` are all files of the target version, `added` those that Redis may lack,
    `removed` files that Redis may still show and the target no longer has (of one or more versions). Rows with a null
    key or event time are no feature rows and are left out. Of rows of one key with one event time the last counts, by
    its file's path and its place in the file.

    Only keys, event times and places are ever gathered; whole rows pass through once, each newest one.
    """

    def __init__(
        self, view: View, memory: Memory, *, whole: Files, added: Files | None = None, removed: Sequence[Files] = ()
    ) -> None:
        self._view = view
        self._batch_rows = max(1, memory.batch_fields // view.width)
        self._keys = ", ".join(quoted(name) for name, _ in view.keys)
        with ExitStack() as stack:
            spill = stack.enter_context(tempfile.TemporaryDirectory(prefix="newest-", dir=memory.spill_folder or None))
            self._duckdb = stack.enter_context(duckdb.connect(config=memory.settings(spill)))
            self._scanner = scanner = Scanner(self._duckdb)
            self._whole = self._rows(scanner, whole, features=True)
            self._added = self._rows(scanner, added, features=True) if added else self._whole
            nothing = Files(whole.ref, whole.state, frozenset())
            lost = [self._rows(scanner, files, features=False) for files in removed or [nothing]]
            self._removed = f"({' UNION ALL '.join(f'FROM {rows}' for rows in lost)})"
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _rows(self, scanner: Scanner, files: Files, *, features: bool) -> str:
        """SQL of the feature rows of these files under served names, with MICROS_COLUMN and ROW."""
        view, stamp = self._view, quoted(self._view.timestamp)
        keys = [name for name, _ in view.keys if name != DUMMY_ENTITY_ID]
        names = [*keys, *(name for name, _ in (view.features if features else ()))]
        stored = {name: view.column(name) for name in names}
        missing = sorted({view.timestamp, *stored.values()} - set(files.state.schema.names))
        if missing:
            raise DataError(f"{view.name}: expected columns {missing} in the table, found {files.state.schema.names}.")
        relation = scanner.relation(files.ref, files.state, files.paths, {view.timestamp, *stored.values()})
        served = [f"{quoted(stored[name])} AS {quoted(name)}" for name in names]
        served += [f"'' AS {quoted(DUMMY_ENTITY_ID)}"] if len(keys) < len(view.keys) else []
        needed = [view.timestamp, *(stored[name] for name in keys)]
        present = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in needed)
        return (
            f"(SELECT {', '.join(served)}, epoch_us({stamp}) AS {MICROS_COLUMN}, {ROW} FROM {relation} WHERE {present})"
        )

    def _find(self, name: str, rows: str, *, keep_keys: bool = False) -> bool:
        """Make the table `name`: where the newest row of each key stands. Returns whether every row is the newest of its key."""
        keys = f"{self._keys}, " if keep_keys else ""
        self._execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {keys}({_NEWEST} & {_PLACE})::UBIGINT AS {ROW}, count(*) AS rows "
            f"FROM {rows} GROUP BY {self._keys}"
        )
        distinct, all_rows = self._one(f"SELECT count(*), coalesce(sum(rows), 0) FROM {name}")
        return bool(distinct == all_rows)

    def _found(self, name: str, rows: str) -> Iterator[pa.RecordBatch]:
        return self._stream(f"SELECT {self._served()} FROM {rows} JOIN (SELECT {ROW} FROM {name}) USING ({ROW})")

    def _served(self) -> str:
        return ", ".join([*(quoted(name) for name, _ in (*self._view.keys, *self._view.features)), MICROS_COLUMN])

    def find_retractions(self) -> int:
        """Remember the keys that lost a row: (key, event time) removed and not added. Returns how many keys."""
        row = f"{self._keys}, {MICROS_COLUMN}"
        lost = f"(SELECT {row} FROM {self._removed} EXCEPT SELECT {row} FROM {self._added})"
        self._execute(
            f"CREATE TEMP TABLE retracted AS SELECT {self._keys}, max({MICROS_COLUMN}) AS lost FROM {lost} GROUP BY {self._keys}"
        )
        found = self._count("retracted")
        kept = f"(FROM {self._whole if found else self._added} SEMI JOIN retracted USING ({self._keys}))"
        self._find("settled", kept, keep_keys=True)
        return found

    def retracted_since(self, micros: int) -> int:
        """How many of these keys lost a row of this event time or a later one."""
        return self._count(f"(FROM retracted WHERE lost >= {micros})")

    def changed(self) -> Iterator[pa.RecordBatch]:
        """The newest added row of every key that lost none."""
        rows = self._added
        if self._count("retracted"):
            rows = f"(FROM {rows} ANTI JOIN retracted USING ({self._keys}))"
        return self._newest(rows)

    def settled(self) -> Iterator[pa.RecordBatch]:
        """The newest row in the whole table of every key that lost a row and still has one."""
        return self._found("settled", self._whole)

    def gone(self) -> Iterator[pa.RecordBatch]:
        """Keys that lost a row and have none left."""
        return self._stream(f"SELECT {self._keys} FROM retracted ANTI JOIN settled USING ({self._keys})")

    def every(self) -> Iterator[pa.RecordBatch]:
        """The newest row of every key in the whole table."""
        return self._newest(self._whole)

    def _newest(self, rows: str) -> Iterator[pa.RecordBatch]:
        if self._find("newest", rows):
            self._execute("DROP TABLE newest")
            return self._stream(f"SELECT {self._served()} FROM {rows}")
        return self._found("newest", rows)

    def sample(self, size: int) -> Iterator[pa.RecordBatch]:
        """The newest rows of `size` keys chosen at random."""
        chosen = f"(SELECT DISTINCT {self._keys} FROM {self._whole}) USING SAMPLE reservoir({size} ROWS)"
        self._execute(f"CREATE OR REPLACE TEMP TABLE sampled AS FROM {chosen}")
        self._find("newest", f"(FROM {self._whole} SEMI JOIN sampled USING ({self._keys}))")
        return self._found("newest", self._whole)

    def count_keys(self) -> int:
        """How many keys the whole table has."""
        return self._count(f"(SELECT DISTINCT {self._keys} FROM {self._whole})")

    def span(self) -> tuple[int, int] | None:
        """Least and greatest event time of the whole table, µs since 1970 UTC; None for an empty table."""
        return self._span(self._whole)

    def spans_of_change(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """The same of the added and of the removed rows."""
        return self._span(self._added), self._span(self._removed)

    def _span(self, rows: str) -> tuple[int, int] | None:
        first, last = self._one(f"SELECT min({MICROS_COLUMN}), max({MICROS_COLUMN}) FROM {rows}")
        return None if first is None else (first, last)

    def _count(self, relation: str) -> int:
        return int(self._one(f"SELECT count(*) FROM {relation}")[0])

    def _one(self, sql: str) -> tuple[Any, ...]:
        with self._scanner.reading():
            [row] = self._duckdb.execute(sql).fetchall()
        return tuple(row)

    def _execute(self, sql: str) -> None:
        with self._scanner.reading():
            self._duckdb.execute(sql)

    def _stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        with self._scanner.reading():
            for batch in self._duckdb.sql(sql).to_arrow_reader(self._batch_rows):
                # Rows of long lists are large.
                rows = max(1, batch.num_rows * BATCH_BYTES // max(batch.nbytes, BATCH_BYTES))
                yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))
