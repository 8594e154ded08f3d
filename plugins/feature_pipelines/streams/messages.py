"""Messages as raw rows: JSON of the contract's columns, each with where it is in the stream and what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from feature_pipelines.schemas import raw_schema
from feature_pipelines.sources import FLAW, PLACE, UNREADABLE

if TYPE_CHECKING:
    from feature_pipelines.streams.log import Record
    from spark_jobs.contract import Column, RawTable
    from spark_jobs.interval import Interval

BATCH_ROWS: Final = 10_000
_SHOWN: Final = 60
_INTEGERS: Final = {"int32": 31, "int64": 63}


class _Wrong(ValueError):
    """A value is not of its column's type."""


def message_columns(contract: RawTable) -> tuple[Column, ...]:
    """The columns a message has: all but the time column, which is when it was enqueued."""
    return tuple(column for column in contract.columns if column.name != contract.time_column)


def row_batches(
    records: Iterable[Record],
    contract: RawTable,
    interval: Interval,
    *,
    flaws: Callable[[pa.RecordBatch], pa.Array],
) -> Iterator[pa.RecordBatch]:
    """The contract's columns, `flaw`, `place` and `unreadable`: one row per record that is not a heartbeat."""
    schema = raw_schema(contract)
    rows: list[dict[str, Any]] = []
    for record in records:
        if not record.is_heartbeat:
            rows.append(_row(record, contract, interval))
        if len(rows) == BATCH_ROWS:
            yield _batch(rows, schema, flaws)
            rows.clear()
    if rows:
        yield _batch(rows, schema, flaws)


def _batch(
    rows: list[dict[str, Any]], schema: pa.Schema, flaws: Callable[[pa.RecordBatch], pa.Array]
) -> pa.RecordBatch:
    batch = pa.RecordBatch.from_pylist(rows, schema=schema).append_column(FLAW, pa.nulls(len(rows), pa.string()))
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in (PLACE, UNREADABLE)}
    found = flaws(batch.select(schema.names))
    batch = batch.set_column(batch.schema.get_field_index(FLAW), FLAW, found)
    for name, values in columns.items():
        batch = batch.append_column(name, values)
    return batch


def _row(record: Record, contract: RawTable, interval: Interval) -> dict[str, Any]:
    values, problems = read_message(record.value, message_columns(contract))
    # A producer's stamp may lie before the interval in which the record was appended; it cannot have been known then.
    values[contract.time_column] = max(record.enqueued, interval.start)
    return {**values, PLACE: record.place, UNREADABLE: "; ".join(problems) or None}


def read_message(value: bytes | None, columns: Iterable[Column]) -> tuple[dict[str, Any], list[str]]:
    """The values that could be read (null for the rest) and why the message is no row, if it is none.

    A message has exactly these columns. Texts are texts, numbers are numbers, a time is an ISO 8601 text with its
    offset from UTC; null is a value.
    """
    columns = tuple(columns)
    values: dict[str, Any] = dict.fromkeys(column.name for column in columns)
    try:
        told = json.loads(value or b"", parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return values, [f"not JSON: {_excerpt(error)}"]
    if not isinstance(told, Mapping):
        return values, [f"not a JSON object: {_excerpt(json.dumps(told))}"]
    missing = [column.name for column in columns if column.name not in told]
    extra = sorted(told.keys() - values.keys())
    problems = [f"missing: {', '.join(missing)}"] if missing else []
    problems += [f"not in the contract: {_excerpt(', '.join(extra))}"] if extra else []
    for column in columns:
        try:
            values[column.name] = _value(told.get(column.name), column.dtype)
        except _Wrong:
            shown = _excerpt(json.dumps(told[column.name]))
            problems.append(f"{column.name}: expected {_EXPECTED.get(column.dtype, column.dtype)}, found {shown}")
    return values, problems


_EXPECTED: Final = {"timestamp": "a time with its offset from UTC", "string": "a text", "bool": "true or false"}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _value(found: object, dtype: str) -> object:
    if found is None:
        return None
    if dtype == "string":
        return _text(found)
    if dtype == "timestamp":
        return _time(found)
    if dtype == "bool" or isinstance(found, bool):
        return _only(found, isinstance(found, bool) and dtype == "bool")
    if dtype in _INTEGERS:
        return _only(found, isinstance(found, int) and -(2 ** _INTEGERS[dtype]) <= found < 2 ** _INTEGERS[dtype])
    return _number(found)


def _only(found: object, right: bool) -> object:  # noqa: FBT001 - a verdict
    if not right:
        raise _Wrong
    return found


def _number(found: object) -> float:
    try:
        number = float(found) if isinstance(found, int | float) else math.nan
    except OverflowError:
        raise _Wrong from None
    if not math.isfinite(number):
        raise _Wrong
    return number


def _text(found: object) -> str:
    try:
        return bytes(str(_only(found, isinstance(found, str))), "utf-8").decode()
    except UnicodeEncodeError:  # half of a surrogate pair is JSON, but no text
        raise _Wrong from None


def _time(found: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(_only(found, isinstance(found, str))))
        _only(time, time.tzinfo is not None)
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Wrong from None


def _excerpt(found: object) -> str:
    text = str(found).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
