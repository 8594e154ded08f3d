"""The newest row of each key, out of core: DuckDB over exactly the files that changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID

from feast_lakehouse.encoding import MICROS
from feast_lakehouse.errors import DataError
from feast_lakehouse.files import Files
from feast_lakehouse.newest_wins import may_tie
from feast_lakehouse.scan import ROW, Scanner, quoted, refuse_taken
from feast_lakehouse.view import View

MICROS_COLUMN = "__micros"
"""Event time of a row in microseconds since 1970 UTC, in everything that comes out of here."""

_CREATED = "__created"
_NEWEST = f"max({MICROS_COLUMN}::HUGEINT * 18446744073709551616 + {ROW})"
_PLACE = "18446744073709551615::HUGEINT"
"""Event time and place in one number; its lower 64 bits are the place."""

TIMES = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""Event times that Feast can read back, the years 1 to 9999, in microseconds since 1970 UTC."""
_MICROS = f"coalesce({MICROS_COLUMN}, {(1 << 63) - 1})"
"""The same where DuckDB's infinities, which have no number, count too."""

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


class NewestRows:
    """Questions about a view's rows. `whole` are all files of the target version, `added` those that Redis may lack,
    `removed` files that Redis may still show and the target no longer has (of one or more versions). Rows with a null
    key or event time are no feature rows and are left out. Of rows of one key with one event time the last counts, by
    its file's path and its place in the file; before that the one created last, where the view knows when that was.

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
            self._unchanged = replace(whole, paths=whole.paths - (added or whole).paths)
            self._files = whole
            self._added = self._rows(scanner, added, features=True) if added else self._whole
            nothing = Files(whole.ref, whole.state, frozenset())
            lost = [self._rows(scanner, files, features=False) for files in removed or [nothing]]
            self._removed = f"({' UNION ALL '.join(f'FROM {rows}' for rows in lost)})"
            self._open = stack.pop_all()

    @cached_property
    def _whole(self) -> str:
        """SQL of the whole table's rows; a run that only adds files never asks for it."""
        return self._rows(self._scanner, self._files, features=True)

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
        created = [view.created] if features and view.created else []
        read = {view.timestamp, *stored.values(), *created}
        missing = sorted(read - set(files.state.schema.names))
        if missing:
            raise DataError(f"{view.name}: expected columns {missing} in the table, found {files.state.schema.names}.")
        if features:
            refuse_taken(files.ref, files.state)
        relation = scanner.relation(files.ref, files.state, files.paths, read)
        dtypes = dict(view.keys)
        served = [f"{_told_apart(files, stored[name], dtypes.get(name))} AS {quoted(name)}" for name in names]
        served += [f"'' AS {quoted(DUMMY_ENTITY_ID)}"] if len(keys) < len(view.keys) else []
        served += [f"coalesce(epoch_us({quoted(name)}), {-(1 << 63)}) AS {_CREATED}" for name in created]
        needed = [view.timestamp, *(stored[name] for name in keys)]
        present = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in needed)
        return (
            f"(SELECT {', '.join(served)}, epoch_us({stamp}) AS {MICROS_COLUMN}, {ROW} FROM {relation} WHERE {present})"
        )

    def _find(self, name: str, rows: str, *, keep_keys: bool = False) -> bool:
        """Make the table `name`: where the newest row of each key stands. Returns whether every row is the newest of its key."""
        keys = f"{self._keys}, max({MICROS_COLUMN}) AS __at, " if keep_keys else ""
        place = f"({_NEWEST} & {_PLACE})::UBIGINT"
        if self._view.created:
            place = f"arg_max({ROW}, ({MICROS_COLUMN}, {_CREATED}, {ROW}))"
        self._execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {keys}{place} AS {ROW}, count(*) AS __rows "
            f"FROM {rows} GROUP BY {self._keys}"
        )
        distinct, all_rows = self._one(f"SELECT count(*), coalesce(sum(__rows), 0) FROM {name}")
        return bool(distinct == all_rows)

    def _found(self, name: str, rows: str) -> Iterator[pa.RecordBatch]:
        return self._stream(f"SELECT {self._served()} FROM {rows} JOIN (SELECT {ROW} FROM {name}) USING ({ROW})")

    def _served(self) -> str:
        return ", ".join([*(quoted(name) for name, _ in (*self._view.keys, *self._view.features)), MICROS_COLUMN])

    def find_retractions(self) -> int:
        """Remember the keys whose newest row only the whole table tells: those that lost a row ((key, event time) removed
        and not added), and those with an added row that ties with one of an unchanged file. Returns how many keys.
        """
        row = f"{self._keys}, {MICROS_COLUMN}"
        changes = f"(SELECT {row} FROM {self._removed} EXCEPT SELECT {row} FROM {self._added})"
        if rivals := self._rivals():
            changes += f" UNION ALL SELECT {self._keys}, NULL FROM {self._added} SEMI JOIN {rivals} USING ({row})"
        self._execute(
            f"CREATE TEMP TABLE retracted AS SELECT {self._keys}, max({MICROS_COLUMN}) AS __lost FROM ({changes}) GROUP BY {self._keys}"
        )
        found = self._count("retracted")
        kept = f"(FROM {self._whole if found else self._added} SEMI JOIN retracted USING ({self._keys}))"
        self._find("settled", kept, keep_keys=True)
        return found

    def _rivals(self) -> str:
        """SQL of rows of unchanged files that may have the event time of an added row, "" if there can be none."""
        if not (self._unchanged.paths and may_tie(self._unchanged.state) and self._added_span):
            return ""
        rivals = self._unchanged.between(self._view.timestamp, *self._added_span)
        return self._rows(self._scanner, rivals, features=False) if rivals.paths else ""

    def retracted_since(self, micros: int) -> int:
        """How many of these keys lost a row of this event time or a later one, and have none that is as new."""
        left = f"retracted LEFT JOIN settled USING ({self._keys})"
        return self._count(f"(FROM {left} WHERE __lost >= {micros} AND coalesce(__at < __lost, TRUE))")

    def changed(self) -> Iterator[pa.RecordBatch]:
        """The newest added row of every other key."""
        rows = self._added
        if self._count("retracted"):
            rows = f"(FROM {rows} ANTI JOIN retracted USING ({self._keys}))"
        return self._newest(rows)

    def settled(self) -> Iterator[pa.RecordBatch]:
        """The newest row in the whole table of every such key that has one."""
        return self._found("settled", self._whole)

    def gone(self) -> Iterator[pa.RecordBatch]:
        """Such keys that have none."""
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
        return self._sample(size, self._whole)

    def _sample(self, size: int, rows: str) -> Iterator[pa.RecordBatch]:
        chosen = f"(SELECT DISTINCT {self._keys} FROM {rows}) USING SAMPLE reservoir({size} ROWS)"
        self._execute(f"CREATE OR REPLACE TEMP TABLE sampled AS FROM {chosen}")
        self._find("newest", f"(FROM {rows} SEMI JOIN sampled USING ({self._keys}))")
        return self._found("newest", rows)

    def sample_added(self, size: int) -> Iterator[pa.RecordBatch]:
        """The newest added rows of `size` keys chosen at random among them."""
        return self._sample(size, self._added)

    def sampled(self) -> Iterator[pa.RecordBatch]:
        """The newest rows in the whole table of the keys that were chosen last."""
        self._find("newest", f"(FROM {self._whole} SEMI JOIN sampled USING ({self._keys}))")
        return self._found("newest", self._whole)

    def count_keys(self) -> int:
        """How many keys the whole table has."""
        return self._count(f"(SELECT DISTINCT {self._keys} FROM {self._whole})")

    def span(self) -> tuple[int, int] | None:
        """Least and greatest event time of the whole table, µs since 1970 UTC; None for an empty table.

        Raises DataError for event times that Feast could not read back.
        """
        return self._served_span(self._whole)

    def spans_of_change(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """The same of the added and of the removed rows."""
        return self._added_span, self._span(self._removed)

    @cached_property
    def _added_span(self) -> tuple[int, int] | None:
        return self._served_span(self._added)

    def _served_span(self, rows: str) -> tuple[int, int] | None:
        span = self._span(rows)
        if span and not (span[0] in TIMES and span[1] in TIMES):
            found = self._count(f"(FROM {rows} WHERE {_MICROS} NOT BETWEEN {TIMES.start} AND {TIMES.stop - 1})")
            raise DataError(
                f"{self._view.name}: expected event times of the years 1 to 9999 in column {self._view.timestamp!r} of "
                f"{self._unchanged.ref.uri}, found others in {found} rows, {_farther(*span)} µs since 1970 UTC among them. "
                "Nothing was written online. Were milliseconds or nanoseconds taken for microseconds? Correct or delete "
                "these rows in the table and materialize again."
            )
        return span

    def _span(self, rows: str) -> tuple[int, int] | None:
        first, last = self._one(f"SELECT min({_MICROS}), max({_MICROS}) FROM {rows}")
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


def _told_apart(files: Files, column: str, key_type: str | None) -> str:
    """SQL of a column. A key's times lose the parts of a second, toward 1970, as they do in Redis keys."""
    if key_type != "unix_timestamp" or not pa.types.is_timestamp(files.state.schema.field(column).type):
        return quoted(column)
    micros = f"epoch_us({quoted(column)})"
    return f"make_timestamp({micros} - {micros} % {MICROS})"


def _farther(first: int, last: int) -> int:
    return first if first not in TIMES else last
