"""The reference of all tables (docs/tables.md), written from the contracts so that it cannot disagree with them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from feature_pipelines.sources import sources
from spark_jobs.contract import EVENT_TIME
from spark_jobs.features import feature_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spark_jobs.contract import Column, FeatureTable, RawTable

HEADER = """# Tables

<!-- Written by `my-feast docs` from the contracts. Change the contract, not this file. -->

An interval is a UTC day. A raw row belongs to the day that its time column falls into (start included, end not). A feature
row belongs to the day with day start < event time <= day end, and nothing in it was known after its event time.
"""
COLUMN_HEAD = "| column | type | unit | range | null | meaning |\n|---|---|---|---|---|---|"


def tables_markdown() -> str:
    """The whole document; the same contracts give the same text."""
    features, raws = feature_tables(), {name: source.contract for name, source in sources().items()}
    index = [
        "| table | lake | keys | features | reads | owner |\n|---|---|---|---|---|---|",
        *(_index_row(table) for table in features.values()),
    ]
    parts = [
        HEADER,
        "## Feature tables\n",
        "\n".join(index) + "\n",
        *(_feature_section(table) for table in features.values()),
        "## Raw tables\n",
        "Rows that break a contract are kept in `raw/<name>_rejected`, with the reason.\n",
        *(_raw_section(raw) for raw in raws.values()),
    ]
    return "\n".join(parts)


def _index_row(table: FeatureTable) -> str:
    reads = ", ".join(each.raw.name for each in table.inputs)
    keys = ", ".join(key.name for key in table.keys)
    return (
        f"| [{table.name}](#{table.name}) | {table.lake} | {keys} | {len(table.features)} | {reads} | {table.owner} |"
    )


def _feature_section(table: FeatureTable) -> str:
    reads = ", ".join(_reads(each.raw.name, each.lookback_days) for each in table.inputs)
    facts = f"Lake `{table.lake}`, owner {table.owner}. {_served(table.ttl)} Reads {reads}."
    return f"### {table.name}\n\n{table.description}\n\n{facts}\n\n{_columns((*table.keys, EVENT_TIME, *table.features))}\n"


def _reads(name: str, lookback_days: int) -> str:
    return f"[{name}](#{name})" + (f" with {lookback_days} days of lookback" if lookback_days else "")


def _raw_section(raw: RawTable) -> str:
    facts = f"Lake `{raw.lake}`. Key: {', '.join(raw.key)}. Interval by `{raw.time_column}`."
    return f"### {raw.name}\n\n{raw.description}\n\n{facts}\n\n{_columns(raw.columns)}\n"


def _columns(columns: Iterable[Column]) -> str:
    rows = [
        f"| {c.name} | {c.dtype} | {c.unit} | {_range(c)} | {'yes' if c.nullable else 'no'} | {c.description.replace('|', '/')} |"
        for c in columns
    ]
    return "\n".join([COLUMN_HEAD, *rows])


def _range(column: Column) -> str:
    if column.minimum is None and column.maximum is None:
        return ""
    low, high = (f"{bound:,}" if bound is not None else "…" for bound in (column.minimum, column.maximum))
    return f"{low} to {high}"


def _served(ttl: timedelta | None) -> str:
    if ttl is None:
        return "A row is served until a newer one replaces it."
    duration = f"{ttl.days} days" if ttl > timedelta(days=1) else f"{ttl / timedelta(hours=1):g} hours"
    return f"A row is served for {duration} after its event time."
