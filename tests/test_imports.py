"""Imports go one way; ruff says so of what is written, this of what is really loaded."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import feast_lakehouse
import spark_jobs

LIST_LOADED = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in sys.modules of a fresh process that imports these."""
    command = [sys.executable, "-c", LIST_LOADED, *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def modules_of(package: object) -> list[str]:
    path, name = package.__path__, package.__name__  # type: ignore[attr-defined]
    return [name, *(module.name for module in pkgutil.walk_packages(path, f"{name}."))]


def test_spark_jobs_needs_nothing_but_pyspark() -> None:
    loaded = loaded_by(*modules_of(spark_jobs))
    assert not loaded & {"feast_lakehouse", "feature_pipelines", "feast", "airflow", "deltalake", "duckdb", "redis"}


def test_contracts_are_read_without_loading_spark() -> None:
    assert not loaded_by("spark_jobs.features", "spark_jobs.order", "spark_jobs.raw") & {"pyspark", "pandas", "numpy"}


def test_feast_lakehouse_needs_neither_airflow_nor_spark_nor_anything_of_ours() -> None:
    loaded = loaded_by(*modules_of(feast_lakehouse))
    assert not loaded & {"feature_pipelines", "spark_jobs", "airflow", "pyspark", "azure"}


@pytest.mark.parametrize("module", ["cli", "environment", "landing", "orders", "plan", "publishing", "pools", "status"])
def test_the_pipelines_run_without_airflow(module: str) -> None:
    assert not loaded_by(f"feature_pipelines.{module}") & {"airflow", "feast", "pandas"}
