"""Tables for people, and the reference of all tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from feature_pipelines.console import size, table
from feature_pipelines.docs import tables_markdown
from feature_pipelines.environment import CHECKOUT
from spark_jobs.features import feature_tables
from spark_jobs.raw import RAW_TABLES


def test_numbers_stand_right_words_left_times_in_utc_and_nothing_is_a_dash() -> None:
    rows = [("a", 1, None), ("bc", 12345, datetime(2013, 1, 2, 3, tzinfo=UTC))]
    assert table(("name", "rows", "newest"), rows).splitlines() == [
        "name    rows  newest",
        "a          1  -",
        "bc    12,345  2013-01-02 03:00Z",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert table(("name", "rows"), []) == "name  rows"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (3_000_000_000, "3.0 GB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_every_table_and_column_is_documented_with_unit_range_and_null_rule() -> None:
    text = tables_markdown()
    for contract in (*feature_tables().values(), *RAW_TABLES.values()):
        assert f"### {contract.name}\n\n{contract.description}\n" in text
        for column in contract.columns:
            assert f"| {column.name} | {column.dtype} | {column.unit} |" in text
    assert "| wind_speed | float64 | mph | 0 to 200 | yes | Wind speed. |" in text
    assert text == tables_markdown()


def test_the_reference_in_the_repository_is_what_the_contracts_say() -> None:
    told = (CHECKOUT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert told == tables_markdown(), "run `my-feast docs`"
