"""One file says where things are: how it is found, filled in, and refused when it is incomplete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from feature_pipelines import environment
from feature_pipelines.environment import CHECKOUT, Environment, EnvironmentBroken


def test_tables_are_where_the_file_puts_the_lakes(env: Environment) -> None:
    assert env.raw("flights").uri == f"file://{env.home}/lakes/on_prem/raw/flights"
    assert env.rejected("weather").uri == f"file://{env.home}/lakes/cloud/raw/weather_rejected"
    assert env.features("aircraft_daily").uri == f"file://{env.home}/lakes/on_prem/features/aircraft_daily"
    assert env.project == "my_feast"


def test_spark_runs_here_unless_the_file_says_where(env: Environment) -> None:
    assert env.spark_master == "local[2]"
    env.yaml.write_text(env.yaml.read_text() + "spark: {master: 'spark://127.0.0.1:7077'}\n")
    assert Environment(env.name, env.home, env.checkout, env.variables).spark_master == "spark://127.0.0.1:7077"


def test_an_unknown_environment_names_the_known_ones(env: Environment) -> None:
    with pytest.raises(EnvironmentBroken, match=r"'moon'.*Known environments: embedded"):
        _ = Environment("moon", env.home, env.checkout, env.variables).project


def test_a_variable_nobody_set_is_named(env: Environment) -> None:
    with pytest.raises(EnvironmentBroken, match=r"uses \$\{MY_FEAST_HOME\}"):
        _ = Environment(env.name, env.home, env.checkout, {}).project


def test_a_file_without_lakes_is_refused(env: Environment) -> None:
    env.yaml.write_text("project: my_feast\n")
    with pytest.raises(EnvironmentBroken, match=r"offline_store\.lakes"):
        _ = env.lakes


def test_variables_do_not_show(env: Environment) -> None:
    secret = Environment(env.name, env.home, env.checkout, {"PASSWORD": "hunter2"})
    assert "hunter2" not in repr(secret)


def test_load_gives_defaults_to_what_nobody_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_FEAST_HOME", str(tmp_path))
    monkeypatch.setenv("MY_FEAST_REDIS", "127.0.0.1:1")
    monkeypatch.delenv("MY_FEAST_ENVIRONMENT", raising=False)
    env = environment.load()
    assert (env.name, env.home, env.checkout) == ("embedded", tmp_path, CHECKOUT)
    assert env.config["online_store"]["connection_string"] == "127.0.0.1:1"


def test_loading_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from feature_pipelines import environment, sources, landing, orders, publishing, plan, status; "
        "environment.load(); sources.sources(); "
        "print([m for m in ('pyarrow', 'deltalake', 'duckdb', 'feast', 'pandas', 'pyspark', 'airflow', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
        env={"PYTHONPATH": ".:plugins"},
    )
    assert done.stdout.strip() == "[]"
