"""All published tables, and stock Feast's online reads of them, beside the oracle; needs no pytest, as an image has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feature_pipelines.environment import Environment
from spark_jobs.features import feature_tables
from tests import oracle
from tests.end_to_end.answers import stock_store, store_differences, table_differences

WEATHER_TABLE = "airport_weather_hourly"


@dataclass
class Comparison:
    """What differed, of how many rows on the lakes and how many keys online."""

    found: list[str] = field(default_factory=list)
    rows: int = 0
    keys: int = 0

    def __str__(self) -> str:
        return f"{len(self.found)} mismatches in {self.rows:,} rows and {self.keys:,} keys"


def compare(
    env: Environment,
    told: list[dict[str, Any]],
    days: Sequence[str],
    folder: Path,
    *,
    user: str | None,
    password: str | None,
    landed: Sequence[str] | None = None,
) -> Comparison:
    """Every feature table of these days; `told` are the readings of the event stream, user and password are Redis's."""
    compared = Comparison()
    stock = stock_store(env, folder, login=f",username={user},password={password}")
    for table in feature_tables():
        is_stream = table == WEATHER_TABLE
        wanted = oracle.weather_features(told, days) if is_stream else oracle.rows(table, days, landed=landed or days)
        newest = {tuple(row[key] for key in oracle.KEYS[table]): row for row in wanted}
        assert wanted, table
        compared.found += table_differences(env, table, wanted) + store_differences(env, table, newest, stock)
        compared.rows += len(wanted)
        compared.keys += len(newest)
    return compared
