"""The newest row of each key, out of core: DuckDB over exactly the files that changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads
from feast.feature_view import DUMMY_ENTITY_ID

from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.view import View

MICROS_COLUMN = "__micros"
"""Event time of a row in microseconds since 1970 UTC, in everything that comes out of here."""

BATCH_BYTES = 16 << 20
"""At most about so many bytes of rows leave here at a time, however large a row is."""


@dataclass(frozen=True)
class Memory:
    """Limits of the DuckDB part of a run: its memory, where it may spill, how many rows leave it at a time."""

    limit: str = "256MB"
    spill_folder: str = ""
    batch_rows: int = 20_000
    threads: int = 2


class NewestRows:
    """Questions about a view's rows. `added` are files of the target version that Redis may lack, `removed` files that
    Redis may still show and the target no longer has, `whole` all files of the target. Rows with a null key or event
    time are no feature rows and are left out.
    """

    def __init__(self, view: View, memory: Memory, **datasets: Sequence[pads.Dataset]) -> None:
        self._view, self._memory = view, memory
        self._keys = ", ".join(_quoted(name) for name, _ in view.keys)
        self._spill = tempfile.TemporaryDirectory(prefix="newest-", dir=memory.spill_folder or None)
        self._duckdb = duckdb.connect(
            config={
                "memory_limit": memory.limit,
                "threads": memory.threads,
                "preserve_insertion_order": False,
                "temp_directory": self._spill.name,
                "python_enable_replacements": False,
            }
        )
        self._sources: Mapping[str, list[str]] = {
            name: [self._register(f"{name}_{i}", dataset) for i, dataset in enumerate(parts)]
            for name, parts in datasets.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._duckdb.close()
        self._spill.cleanup()

    def _register(self, name: str, dataset: pads.Dataset) -> str:
        missing = [c for c in self._columns() if c not in dataset.schema.names]
        if missing:
            raise DataError(
                f"{self._view.name}: expected columns {missing} in the table, found {dataset.schema.names}."
            )
        self._duckdb.register(name, dataset)
        return name

    def _columns(self) -> list[str]:
        served = [name for name, _ in self._view.keys if name != DUMMY_ENTITY_ID]
        return [self._view.column(name) for name in served] + [self._view.timestamp]

    def _rows(self, source: str, *, features: bool) -> str:
        """SQL of the rows of a named set of files, under served names. A set without files has no rows."""
        parts = [self._part(part, features=features) for part in self._sources[source]]
        if not parts:
            return f"(SELECT * FROM {self._rows('whole', features=features)} WHERE false)"  # noqa: S608
        return "(" + " UNION ALL ".join(parts) + ")"

    def _part(self, part: str, *, features: bool) -> str:
        names = [name for name, _ in (*self._view.keys, *(self._view.features if features else ()))]
        columns = ", ".join(f"{self._expression(name)} AS {_quoted(name)}" for name in names)
        stamp = _quoted(self._view.timestamp)
        present = f"{stamp} IS NOT NULL{self._keys_present()}"
        return f"SELECT {columns}, epoch_us({stamp}) AS {MICROS_COLUMN} FROM {part} WHERE {present}"  # noqa: S608

    def _expression(self, name: str) -> str:
        return "''" if name == DUMMY_ENTITY_ID else _quoted(self._view.column(name))

    def _keys_present(self) -> str:
        present = [f" AND {self._expression(n)} IS NOT NULL" for n, _ in self._view.keys if n != DUMMY_ENTITY_ID]
        return "".join(present)

    def _newest(self, rows: str) -> str:
        packed = ", ".join(f"{_quoted(name)} := {_quoted(name)}" for name, _ in self._view.features)
        unpacked = ", ".join(f"r.{_quoted(name)} AS {_quoted(name)}" for name, _ in self._view.features)
        # arg_max ignores null arguments; a struct is never null, so a null feature of the newest row stays null.
        return (
            f"SELECT {self._keys}, {MICROS_COLUMN}, {unpacked} FROM (SELECT {self._keys}, max({MICROS_COLUMN}) AS {MICROS_COLUMN}, "  # noqa: S608
            f"arg_max(struct_pack({packed}), {MICROS_COLUMN}) AS r FROM {rows} GROUP BY {self._keys})"
        )

    def find_retractions(self) -> int:
        """Remember the keys that lost a row: (key, event time) removed and not added. Returns how many keys."""
        removed, added = self._rows("removed", features=False), self._rows("added", features=False)
        lost = f"(SELECT * FROM {removed} EXCEPT SELECT * FROM {added})"  # noqa: S608
        self._duckdb.execute(f"CREATE TEMP TABLE retracted AS SELECT DISTINCT {self._keys} FROM {lost}")  # noqa: S608
        found = self._count("retracted")
        whole = self._rows("whole" if found else "added", features=True)
        kept = f"(SELECT * FROM {whole} SEMI JOIN retracted USING ({self._keys}))"  # noqa: S608
        self._duckdb.execute(f"CREATE TEMP TABLE settled AS {self._newest(kept)}")
        return found

    def changed(self) -> Iterator[pa.RecordBatch]:
        """The newest added row of every key that lost none."""
        rows = f"(SELECT * FROM {self._rows('added', features=True)} ANTI JOIN retracted USING ({self._keys}))"  # noqa: S608
        return self._stream(self._newest(rows))

    def settled(self) -> Iterator[pa.RecordBatch]:
        """The newest row in the whole table of every key that lost a row and still has one."""
        return self._stream("FROM settled")

    def gone(self) -> Iterator[pa.RecordBatch]:
        """Keys that lost a row and have none left."""
        return self._stream(f"SELECT {self._keys} FROM retracted ANTI JOIN settled USING ({self._keys})")  # noqa: S608

    def every(self) -> Iterator[pa.RecordBatch]:
        """The newest row of every key in the whole table."""
        return self._stream(self._newest(self._rows("whole", features=True)))

    def sample(self, size: int) -> Iterator[pa.RecordBatch]:
        """The newest rows of `size` keys chosen at random."""
        rows = self._rows("whole", features=True)
        chosen = f"(SELECT DISTINCT {self._keys} FROM {rows}) USING SAMPLE reservoir({size} ROWS)"  # noqa: S608
        self._duckdb.execute(f"CREATE OR REPLACE TEMP TABLE sampled AS SELECT * FROM {chosen}")  # noqa: S608
        return self._stream(self._newest(f"(SELECT * FROM {rows} SEMI JOIN sampled USING ({self._keys}))"))  # noqa: S608

    def count_keys(self) -> int:
        """How many keys the whole table has."""
        return self._count(f"(SELECT DISTINCT {self._keys} FROM {self._rows('whole', features=False)})")  # noqa: S608

    def span(self) -> tuple[int, int] | None:
        """Least and greatest event time of the whole table, µs since 1970 UTC; None for an empty table."""
        rows = self._rows("whole", features=False)
        first, last = self._one(f"SELECT min({MICROS_COLUMN}), max({MICROS_COLUMN}) FROM {rows}")  # noqa: S608
        return None if first is None else (first, last)

    def _count(self, relation: str) -> int:
        return int(self._one(f"SELECT count(*) FROM {relation}")[0])  # noqa: S608

    def _one(self, sql: str) -> tuple[Any, ...]:
        row = self._duckdb.execute(sql).fetchone()
        if row is None:
            raise DataError(f"{self._view.name}: DuckDB gave no answer to {sql}")
        return row

    def _stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        for batch in self._duckdb.sql(sql).to_arrow_reader(self._memory.batch_rows):
            # Rows of long lists are large.
            rows = max(1, batch.num_rows * BATCH_BYTES // max(batch.nbytes, BATCH_BYTES))
            yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


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


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
