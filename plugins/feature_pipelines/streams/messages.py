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
    schema, columns = raw_schema(contract), message_columns(contract)
    rows: list[dict[str, Any]] = []
    for record in records:
        if not record.is_heartbeat:
            values, problems = read_message(record.value, columns)
            # A producer's stamp may lie before the interval the record was appended in: it was not known then.
            values[contract.time_column] = max(record.enqueued, interval.start)
            rows.append({**values, PLACE: record.place, UNREADABLE: "; ".join(problems) or None})
        if len(rows) == BATCH_ROWS:
            yield _batch(rows, schema, flaws)
            rows.clear()
    if rows:
        yield _batch(rows, schema, flaws)


def _batch(
    rows: list[dict[str, Any]], schema: pa.Schema, flaws: Callable[[pa.RecordBatch], pa.Array]
) -> pa.RecordBatch:
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    told = {name: pa.array([row[name] for row in rows], pa.string()) for name in (PLACE, UNREADABLE)}
    for name, values in {FLAW: flaws(batch), **told}.items():
        batch = batch.append_column(name, values)
    return batch


def read_message(value: bytes | None, columns: tuple[Column, ...]) -> tuple[dict[str, Any], list[str]]:
    """The values that could be read (null for the rest) and why the message is no row, if it is none.

    A message has exactly these columns. Texts are texts, numbers are numbers, a time is an ISO 8601 text with its
    offset from UTC; null is a value.
    """
    values: dict[str, Any] = {column.name: None for column in columns}
    try:
        told = _JSON.decode((value or b"").decode())
    except (ValueError, RecursionError) as error:
        return values, [f"not JSON: {_excerpt(error)}"]
    if not isinstance(told, dict):
        return values, [f"not a JSON object: {_excerpt(json.dumps(told))}"]
    problems = _wrong_names(told, columns) if told.keys() != values.keys() else []
    for column in columns:
        found = told.get(column.name)
        if found is not None:
            try:
                values[column.name] = _READERS[column.dtype](found)
            except _Wrong:
                problems.append(
                    f"{column.name}: expected {_EXPECTED[column.dtype]}, found {_excerpt(json.dumps(found))}"
                )
    return values, problems


def _wrong_names(told: Mapping[str, Any], columns: tuple[Column, ...]) -> list[str]:
    missing = [column.name for column in columns if column.name not in told]
    extra = sorted(told.keys() - {column.name for column in columns})
    problems = [f"missing: {', '.join(missing)}"] if missing else []
    return problems + ([f"not in the contract: {_excerpt(', '.join(extra))}"] if extra else [])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _bool(found: object) -> bool:
    if not isinstance(found, bool):
        raise _Wrong
    return found


def _integer(bits: int) -> Callable[[object], int]:
    def integer(found: object) -> int:
        if not isinstance(found, int) or isinstance(found, bool) or not -(2 ** (bits - 1)) <= found < 2 ** (bits - 1):
            raise _Wrong
        return found

    return integer


def _number(found: object) -> float:
    try:
        number = float(found) if isinstance(found, int | float) and not isinstance(found, bool) else math.nan
    except OverflowError:
        raise _Wrong from None
    if not math.isfinite(number):
        raise _Wrong
    return number


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise _Wrong
    if not found.isascii():
        try:
            found.encode()
        except UnicodeEncodeError:  # half of a surrogate pair is JSON, but no text
            raise _Wrong from None
    return found


def _time(found: object) -> datetime:
    if not isinstance(found, str):
        raise _Wrong
    try:
        time = datetime.fromisoformat(found)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _Wrong


_JSON: Final = json.JSONDecoder(parse_constant=_no_constant)
_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "string": _text,
    "timestamp": _time,
    "bool": _bool,
    "int32": _integer(32),
    "int64": _integer(64),
    "float32": _number,
    "float64": _number,
}
_EXPECTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("float32", "float64"), "a number"),
    **{f"int{bits}": f"a whole number of {bits} bits" for bits in (32, 64)},
    "timestamp": "a time with its offset from UTC",
    "string": "a text",
    "bool": "true or false",
}


def _excerpt(found: object) -> str:
    text = str(found).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
