"""The feature table that the README adds in one file is a real one."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pyspark.sql import SparkSession

from tests.spark_jobs.frames import at, dicts, flight, flights

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def example(tmp_path: Path) -> Iterator[ModuleType]:
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code
    file = tmp_path / "carrier_daily.py"
    file.write_text(code[1])
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[file.stem]


def test_its_name_is_its_file(example: ModuleType) -> None:
    assert example.TABLE.name == example.__name__


def test_it_counts_departures(spark: SparkSession, example: ModuleType) -> None:
    frame = flights(
        spark,
        flight("2013-01-01 10:00", flight=1),
        flight("2013-01-01 23:59", dep_delay=5, flight=2),
        flight("2013-01-01 12:00", dep_delay=None, flight=3),
        flight("2013-01-01 13:00", carrier="B6", flight=4),
    )
    assert dicts(example.transform(flights=frame)) == [
        {"carrier": "B6", "event_timestamp": at("2013-01-02 00:00"), "departures": 1},
        {"carrier": "UA", "event_timestamp": at("2013-01-02 00:00"), "departures": 1},
        {"carrier": "UA", "event_timestamp": at("2013-01-03 00:00"), "departures": 1},
    ]
