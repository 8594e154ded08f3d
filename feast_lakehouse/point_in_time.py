"""The point-in-time join: to each entity row, the newest feature row known at its time, for many views at once."""
# ruff: noqa: S608 - the SQL is made of numbered names of this module, never of anybody's text

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from feast_lakehouse.duck import Limits, run
from feast_lakehouse.errors import DataError, LakehouseError
from feast_lakehouse.keys import whole_seconds
from feast_lakehouse.newest_wins import may_tie
from feast_lakehouse.sources import Source

VERSIONS_KEY: Final = b"feast_lakehouse.table_versions"
_PLACES: Final = 1 << 63
"""One more than the greatest place of a row."""
_ROW_BITS: Final = 40


@dataclass(frozen=True)
class Wanted:
    """One view's part: `keys` maps its key columns to columns of the entity rows, `features` output names to columns.

    A feature row counts at time t when its time is in [t - ttl, t]; a ttl of None or zero is no limit.
    """

    view: str
    source: Source
    keys: Mapping[str, str]
    features: Mapping[str, str]
    ttl: timedelta | None

    @property
    def ttl_micros(self) -> int | None:
        """The ttl in microseconds, None for no limit."""
        return self.ttl // timedelta(microseconds=1) if self.ttl else None

    def order(self, time: str, place: str) -> str:
        """SQL of a row's order: its event time, and its place in one number with it where two rows may have one time."""
        return f"({time}::HUGEINT * {_PLACES} + {place})" if may_tie(self.source.state) else time


@dataclass(frozen=True)
class Join:
    """A point-in-time join whose entity rows and table versions are fixed; nothing has been read yet."""

    entities: pa.Table
    time_column: str
    wanted: Sequence[Wanted]
    limits: Limits

    def versions(self) -> dict[str, int]:
        """The table version each view is read at."""
        return {one.view: one.source.state.version for one in self.wanted}

    def sql(self) -> str:
        """The DuckDB statement. `entity` holds row number, time and keys, `view_<n>` a view's rows in short names."""
        parts = [part for n, one in self._views() for part in (_asked(n, one), _candidates(n, one)) if part]
        chosen = [_valid(n, f, one) for n, one in self._views() for f in range(len(one.features))]
        joins = [_joined(n, one) for n, one in self._views()]
        with_parts = f"WITH {', '.join(parts)} " if parts else ""
        return f"{with_parts}SELECT {', '.join(['e.row', *chosen])} FROM entity e {' '.join(joins)} ORDER BY e.row"

    def execute(self, timeout: float | None = None) -> pa.Table:
        """The entity rows, all of them in their order, with the features; the schema metadata tells the versions."""
        found = run(self.sql(), self._inputs(), limits=self.limits, timeout=timeout)
        if found.num_rows != self.entities.num_rows:
            raise LakehouseError(f"The join made {found.num_rows} rows of {self.entities.num_rows} entity rows.")
        names = [name for one in self.wanted for name in one.features]
        result = pa.table([*self.entities.columns, *found.columns[1:]], names=[*self.entities.column_names, *names])
        return result.replace_schema_metadata({VERSIONS_KEY: json.dumps(self.versions()).encode()})

    def _inputs(self) -> dict[str, Any]:
        times = self.entities.column(self.time_column).cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
        columns: dict[str, Any] = {"row": pa.array(np.arange(len(times))), "t": times}
        for n, one in self._views():
            for k, (key, column) in enumerate(one.keys.items()):
                columns[f"v{n}k{k}"] = _as_key(self.entities.column(column), one, key, column)
        bounds = pc.min_max(times).as_py()
        scans = {f"view_{n}": _scan(one, bounds["min"], bounds["max"]) for n, one in self._views()}
        return {"entity": pa.table(columns), **scans}

    def _views(self) -> list[tuple[int, Wanted]]:
        return list(enumerate(self.wanted))


def _scan(one: Wanted, first: int | None, last: int | None) -> pa.RecordBatchReader:
    columns = {f"k{k}": key for k, key in enumerate(one.keys)}
    columns |= {f"f{f}": column for f, column in enumerate(one.features.values())}
    times = {"t": one.source.timestamp} | ({"c": one.source.created} if one.source.created else {})
    if first is None or last is None:
        first, last = 0, -1  # no entity row has a time: nothing can match
    since = first - one.ttl_micros if one.ttl_micros else None
    scanner = one.source.scan(columns, times=times, since=since, until=last)
    return with_places(scanner, one.source, [f"k{k}" for k in range(len(one.keys))])


def with_places(scanner: pads.Scanner, source: Source, keys: Sequence[str]) -> pa.RecordBatchReader:
    """The scanned rows, and of each its `place`: (number of its file, by path, << 40) + a number that grows within it.

    Times in the columns `keys` are as `whole_seconds` makes them.
    """
    number = {path: n << _ROW_BITS for n, path in enumerate(sorted(source.state.files))}
    schema = scanner.projected_schema
    times = [key for key in keys if pa.types.is_timestamp(schema.field(key).type)]

    def batches() -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch, fragment in scanner.scan_batches():
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            columns |= {key: whole_seconds(columns[key]) for key in times}
            columns["place"] = pa.array(np.arange(rows, rows + len(batch)) + number[fragment.path])
            rows += len(batch)
            yield pa.record_batch(columns)

    return pa.RecordBatchReader.from_batches(schema.append(pa.field("place", pa.int64())), batches())


def _asked(n: int, one: Wanted) -> str:
    """The distinct keys asked for, numbered: sorting numbers costs half of sorting the keys themselves."""
    if not one.keys:
        return ""
    keys = ", ".join(f"v{n}k{k} AS k{k}" for k in range(len(one.keys)))
    return f"key_{n} AS MATERIALIZED (SELECT *, row_number() OVER () AS id FROM (SELECT DISTINCT {keys} FROM entity))"


def _candidates(n: int, one: Wanted) -> str:
    """Rows of keys asked for, `o` their order. Of rows with one key and time (foreign tables only) the last counts, or
    the one created last where the source tells when that was.
    """
    features = "".join(f", f{f}" for f in range(len(one.features)))
    keys = ", ".join(f"k{k}" for k in range(len(one.keys)))
    chosen, source = ("id, t", f"view_{n} JOIN key_{n} USING ({keys})") if keys else ("t", f"view_{n}")
    order = f"{one.order('t', 'place')} AS o"
    last = f" QUALIFY row_number() OVER (PARTITION BY {chosen} ORDER BY c DESC NULLS LAST, place DESC) = 1"
    return f"rows_{n} AS (SELECT {chosen}, {order}{features} FROM {source}{last if one.source.created else ''})"


def _joined(n: int, one: Wanted) -> str:
    until = f"{one.order('e.t', f'{_PLACES - 1}')} >= r{n}.o"
    if not one.keys:
        return f"ASOF LEFT JOIN rows_{n} r{n} ON {until}"
    same = " AND ".join(f"e.v{n}k{k} = key_{n}.k{k}" for k in range(len(one.keys)))
    return f"LEFT JOIN key_{n} ON {same} ASOF LEFT JOIN rows_{n} r{n} ON key_{n}.id = r{n}.id AND {until}"


def _valid(n: int, f: int, one: Wanted) -> str:
    if one.ttl_micros is None:
        return f"r{n}.f{f} AS v{n}f{f}"
    return f"CASE WHEN r{n}.t >= e.t - {one.ttl_micros} THEN r{n}.f{f} END AS v{n}f{f}"


def _as_key(column: pa.ChunkedArray, one: Wanted, key: str, name: str) -> pa.ChunkedArray:
    wanted = one.source.type_of(key)
    try:
        found = column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{one.view}: key {name!r} of the entity rows cannot be read as {wanted}: {error}") from error
    return whole_seconds(found) if pa.types.is_timestamp(wanted) else found


def entity_rows(frame: pd.DataFrame, time_column: str) -> pa.Table:
    """A data frame as Arrow, its time column in UTC: naive times are taken as UTC, others converted.

    Raises DataError when the times cannot be read.
    """
    try:
        times = pd.to_datetime(frame[time_column], utc=True)
        table = pa.Table.from_pandas(frame.assign(**{time_column: times}), preserve_index=False)
    except (ValueError, TypeError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"The entity rows cannot be read (times in {time_column!r}): {error}") from error
    return table.replace_schema_metadata(None)
