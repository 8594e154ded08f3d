"""The verdict on every raw row: fit to land, or the reasons why not, as one SQL expression made from the contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from feature_pipelines.sources import FLAW, PLACE, UNREADABLE

if TYPE_CHECKING:
    from feature_pipelines.sources import Source
    from spark_jobs.contract import Column, RawTable
    from spark_jobs.interval import Interval

ROW = "row_number"
FLOATS = ("float32", "float64")


def checked_query(source: Source, interval: Interval, rows: str) -> str:
    """A query over the relation `rows` (what the source's batches have): each row and its `reason`, null = fit.

    Rows come sorted by key, so that the order of a file is no part of its content. Of fit rows of a file with one key
    the first stays; the others are duplicates. For a stream see `_stream_query`.
    """
    # Nothing in the queries comes from data: names are the contract's, which are plain words.
    return (_stream_query if source.is_stream else _file_query)(source, interval, rows)


def _file_query(source: Source, interval: Interval, rows: str) -> str:
    columns, keys = _names(source.contract.columns), _keys(source.contract.key)
    reasons = ",\n    ".join([FLAW, *_reasons(source, interval)])
    twin = f"row_number() OVER (PARTITION BY {keys}, reason IS NULL ORDER BY {ROW})"
    return f"""
WITH numbered AS (SELECT *, row_number() OVER () AS {ROW} FROM {rows}),
judged AS (SELECT *, nullif(concat_ws('; ',
    {reasons}), '') AS reason FROM numbered),
ranked AS (SELECT *, {twin} AS twin FROM judged)
SELECT {columns}, CASE WHEN reason IS NULL AND twin > 1 THEN {_duplicate(source.contract)} ELSE reason END AS reason
FROM ranked ORDER BY {keys}, {ROW}"""  # noqa: S608


def _stream_query(source: Source, interval: Interval, rows: str) -> str:
    """Every reason begins with the place in the stream.

    The key without the time column says what a record is about. A record that tells of it what the one before it
    told is a repetition and does not land; one that tells something else is a correction and does, beside the first.
    Of different ones enqueued in the same millisecond the last in the stream stays.
    """
    contract = source.contract
    time, keys = _name(contract.time_column), _keys(contract.key)
    about = _keys(key for key in contract.key if key != contract.time_column)
    told = f"row({_names(column for column in contract.columns if column.name not in contract.key)})"
    reasons = ",\n    ".join([FLAW, *_reasons(source, interval)])
    return f"""
WITH numbered AS (SELECT *, row_number() OVER () AS {ROW} FROM {rows}),
judged AS (SELECT *, coalesce({UNREADABLE}, nullif(concat_ws('; ',
    {reasons}), '')) AS reason FROM numbered),
compared AS (SELECT *, lag({time}) OVER telling AS before, lag({told}) OVER telling IS NOT DISTINCT FROM {told} AS same
    FROM judged WINDOW telling AS (PARTITION BY {about}, reason IS NULL ORDER BY {time}, {ROW})),
repeated AS (SELECT *, CASE WHEN reason IS NULL AND before IS NOT NULL AND same
    THEN 'the same was told at ' || before::VARCHAR ELSE reason END AS verdict FROM compared),
ranked AS (SELECT *, row_number() OVER (PARTITION BY {keys}, verdict IS NULL ORDER BY {ROW} DESC) AS twin FROM repeated)
SELECT {_names(contract.columns)}, {PLACE} || ': ' || CASE WHEN verdict IS NULL AND twin > 1
    THEN 'replaced in the same millisecond' ELSE verdict END AS reason
FROM ranked ORDER BY {keys}, {ROW}"""  # noqa: S608


def _reasons(source: Source, interval: Interval) -> Iterator[str]:
    for column in source.contract.columns:
        yield from _column_reasons(column)
    time = _name(source.contract.time_column)
    yield _when(
        f"{time} < {_instant(interval.start.isoformat())} OR {time} >= {_instant(interval.end.isoformat())}",
        f"{_said(source.contract.time_column)} || ' is outside the interval'",
    )
    limit = interval.start + timedelta(days=1 + source.known_within_days)
    for fact in source.fact_columns:
        told = f"' is more than {source.known_within_days} days after its day: no feature table would see it'"
        yield _when(f"{_name(fact)} >= {_instant(limit.isoformat())}", f"{_said(fact)} || {told}")


def _column_reasons(column: Column) -> Iterator[str]:
    name, unit = _name(column.name), f" {column.unit}".replace("'", "''").rstrip()
    if not column.nullable:
        yield _when(f"{name} IS NULL", f"'{column.name} is null'")
    if column.dtype in FLOATS:
        yield _when(f"NOT isfinite({name})", f"{_said(column.name)} || ' is no finite number'")
        name = f"CASE WHEN isfinite({name}) THEN {name} END"
    for bound, operator, word in ((column.minimum, "<", "below"), (column.maximum, ">", "above")):
        if bound is not None:
            told = f"' is {word} the {'min' if word == 'below' else 'max'}imum {bound:g}{unit}'"
            yield _when(f"{name} {operator} {bound!r}", f"{_said(column.name)} || {told}")


def _duplicate(contract: RawTable) -> str:
    values = " || ', ' || ".join(f"{_name(key)}::VARCHAR" for key in contract.key)
    return f"'duplicate of key (' || {values} || ')'"


def _when(condition: str, reason: str) -> str:
    return f"CASE WHEN {condition} THEN {reason} END"


def _said(name: str) -> str:
    return f"'{name} ' || {_name(name)}::VARCHAR"


def _names(columns: Iterable[Column]) -> str:
    return _keys(column.name for column in columns)


def _keys(names: Iterable[str]) -> str:
    return ", ".join(_name(name) for name in names)


def _name(name: str) -> str:
    return f'"{name}"'


def _instant(text: str) -> str:
    return f"TIMESTAMPTZ '{text}'"
