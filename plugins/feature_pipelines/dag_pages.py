"""The page a DAG has in the UI, written from the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spark_jobs.contract import Column, FeatureTable, RawTable

_RUN_IT = """**Days.** A scheduled run is about one UTC day. *Trigger* takes `start` and `end` (end excluded); \
*Backfill* creates one run per day of a range. Any run may be repeated at any time."""


def table_page(table: FeatureTable) -> str:
    """Markdown: what a row is, what it is made from, the columns, how to run it."""
    inputs = "; ".join(f"`raw/{each.raw.name}` of the day{_before(each.lookback_days)}" for each in table.inputs)
    return f"""{table.description}

Lake: `{table.lake}`. Owner: {table.owner}. {_served(table)} Made from {inputs}.

{_columns([*table.keys, *table.features], {key.name for key in table.keys})}

{_RUN_IT} Several days of one run are one Spark application and one commit; days that are current are not computed again \
unless `force` is ticked, and then `order`, `compute` and `publish` are skipped while `materialize` and `verify` still run.

**When it fails.** A red task without a retry means broken data or a broken definition: its log names every broken promise \
and nothing was published.
"""


def _served(table: FeatureTable) -> str:
    return f"Served for {table.ttl} after its event time." if table.ttl else "Served until a newer row replaces it."


def source_page(table: RawTable) -> str:
    """Markdown: what a raw row is, the columns, how to run it."""
    return f"""{table.description}

Lake: `{table.lake}`. The UTC day of `{table.time_column}` decides a row's interval.

{_columns(table.columns, set(table.key))}

{_RUN_IT} The same content again is no new version. Rows that break a promise go to `raw/{table.name}_rejected` with a \
reason. A day never gets fewer rows than it has unless `allow_shrink` is ticked.
"""


def _columns(columns: Iterable[Column], keys: set[str]) -> str:
    head = "| Column | Type | Unit | Range | Null | Meaning |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(_row(column, is_key=column.name in keys) for column in columns)])


def _row(column: Column, *, is_key: bool) -> str:
    name = f"**`{column.name}`** (key)" if is_key else f"`{column.name}`"
    null = "yes" if column.nullable else "no"
    return f"| {name} | {column.dtype} | {column.unit} | {_range(column)} | {null} | {column.description} |"


def _range(column: Column) -> str:
    if column.minimum is None and column.maximum is None:
        return ""
    low = "" if column.minimum is None else f"{column.minimum:g}"
    high = "" if column.maximum is None else f"{column.maximum:g}"
    return f"{low} … {high}"


def _before(lookback_days: int) -> str:
    return f" and the {lookback_days} days before" if lookback_days else ""
