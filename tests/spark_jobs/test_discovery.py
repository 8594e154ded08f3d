"""Feature files are found by name, refused when they contradict themselves, and hashed by what they compute."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spark_jobs import definition, features
from spark_jobs.contract import ContractError
from spark_jobs.features import definition_hash, feature_tables, load_transform

FILE = '''"""A fifth table."""

from __future__ import annotations

from datetime import timedelta

from spark_jobs.contract import Column, FeatureTable, Input
from spark_jobs.raw import WEATHER

TABLE = FeatureTable(
    name="coldest",
    lake="cloud",
    description="One row per airport.",
    owner="somebody",
    keys=(Column("origin", "string", "Airport.", nullable=False),),
    features=(Column("temp", "float64", "Temperature.", minimum=-80),),
    inputs=(Input(WEATHER),),
    ttl=timedelta(days=1),
)


def transform(weather):
    """The coldest."""
    return weather.where("temp < 0")  # below zero
'''


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a feature file, with texts replaced, beside the real ones."""
    before = set(sys.modules)
    monkeypatch.setattr(features, "__path__", [*features.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        for name in set(sys.modules) - before:
            if name.startswith("spark_jobs.features."):
                del sys.modules[name]
                delattr(features, name.rpartition(".")[2])

    def write(*replacements: tuple[str, str], name: str = "coldest") -> None:
        text = FILE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / f"{name}.py").write_text(text)
        forget()

    yield write
    forget()


def test_a_file_is_a_table(write: Callable[..., None]) -> None:
    write()
    assert list(feature_tables()) == [
        "aircraft_daily",
        "airport_hourly",
        "airport_weather_hourly",
        "coldest",
        "route_performance",
    ]
    assert load_transform("coldest").__doc__ == "The coldest."


def test_a_helper_is_no_table(write: Callable[..., None]) -> None:
    write(name="_helper")
    assert "_helper" not in feature_tables()


@pytest.mark.parametrize(
    ("replacement", "complaint"),
    [
        (('"coldest"', '"hottest"'), "features.coldest: TABLE.name is 'hottest', expected 'coldest'"),
        (("def transform", "def change"), "defines TABLE = FeatureTable.* and a function transform"),
        (("TABLE = ", "OTHER = "), "defines TABLE"),
        (("(weather)", "(flights)"), r"transform takes \['flights'\], expected one argument per input: \['weather'\]"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    write: Callable[..., None], replacement: tuple[str, str], complaint: str
) -> None:
    write(replacement)
    with pytest.raises(ContractError, match=complaint):
        feature_tables()


def test_an_unknown_table_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ContractError, match="no feature table 'aircraft'; known are aircraft_daily, airport_hourly"):
        load_transform("aircraft")


def test_an_import_that_fails_inside_a_feature_file_is_shown_as_it_is(write: Callable[..., None]) -> None:
    write(("from spark_jobs.raw", "from no_such_package"))
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        feature_tables()


@pytest.mark.parametrize(
    "replacement",
    [
        ("  # below zero", ""),
        ("def transform(weather):\n", "def transform(\n    weather,\n):\n"),
        ("The coldest.", "The very coldest."),
        ("A fifth table.", "A table."),
        ("One row per airport.", "A row for each airport."),
        ("somebody", "somebody-else"),
        ('"Temperature."', '"Temperature.", unit="°F"'),
    ],
)
def test_the_definition_stays_when_no_row_can_change(write: Callable[..., None], replacement: tuple[str, str]) -> None:
    write()
    before = definition_hash("coldest")
    write(replacement)
    assert definition_hash("coldest") == before


@pytest.mark.parametrize(
    "replacement",
    [
        ("temp < 0", "temp < 1"),
        ("minimum=-80", "minimum=-81"),
        ('"float64", "Temp', '"float32", "Temp'),
        ("Input(WEATHER)", "Input(WEATHER, lookback_days=1)"),
        ('"origin", "string"', '"airport", "string"'),
    ],
)
def test_the_definition_changes_with_what_is_computed(write: Callable[..., None], replacement: tuple[str, str]) -> None:
    write()
    before = definition_hash("coldest")
    write(replacement)
    assert definition_hash("coldest") != before


def test_the_definition_covers_helpers_raw_contracts_and_the_compute_version(monkeypatch: pytest.MonkeyPatch) -> None:
    table = feature_tables()["airport_hourly"]
    module = "spark_jobs.features.airport_hourly"
    assert definition._closure(module) == {module, "spark_jobs.flight_facts"}
    before = definition.hash_definition(module, table)
    raw = table.inputs[0].raw
    narrower = replace(raw, columns=(*raw.columns[:-1], replace(raw.columns[-1], nullable=True)))
    assert (
        definition.hash_definition(module, replace(table, inputs=(replace(table.inputs[0], raw=narrower),))) != before
    )
    monkeypatch.setattr(definition, "COMPUTE_VERSION", 2)
    assert definition.hash_definition(module, table) != before


def test_discovery_needs_neither_pyspark_nor_anything_else() -> None:
    code = (
        "import sys\nfrom spark_jobs.features import *\nimport spark_jobs.order, spark_jobs.report, spark_jobs.submit\n"
        "[definition_hash(name) for name in feature_tables()]\n"
        "foreign = {'pyspark', 'feast', 'airflow', 'pandas', 'pyarrow', 'feast_lakehouse', 'feature_pipelines'}\n"
        "sys.exit(', '.join(foreign & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
