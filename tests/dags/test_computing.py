"""The compute step against a stand-in for the spark-submit program, and real orders in a real lake."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from feast_lakehouse.errors import DataError
from feature_pipelines import environment, tasks
from feature_pipelines.computing import ComputeOrder
from feature_pipelines.landing import land
from feature_pipelines.policy import retry_policy
from feature_pipelines.spark_storage import Reach
from feature_pipelines.window import resolve_window

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

TABLE = "airport_weather_hourly"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run over two landed days, as task `compute` sees it."""
    monkeypatch.setenv("MY_FEAST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    params = {"start": "2013-01-01", "end": "2013-01-03", "force": False}
    context = {"run_id": "r", "params": params, "ti": SimpleNamespace(run_id="r", task_id="compute", try_number=1)}
    land(environment.load(), "weather", resolve_window(context))
    return context


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, *, exit_code: int, says: str = "spark was here") -> Path:
    """Puts a spark-submit first on PATH that notes its arguments, says something and ends with this code."""
    folder.mkdir(exist_ok=True)
    noted = folder / "arguments"
    script = folder / "spark-submit"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$PYSPARK_PYTHON" "$@" > {noted}\necho {says}\nexit {exit_code}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return noted


def compute(order: str, context: dict[str, Any]) -> str:
    operator = ComputeOrder(task_id="compute", table=TABLE, order=order)
    try:
        return operator.execute(context)
    finally:
        process = operator._hook and operator._hook._submit_sp
        if process:
            process.stdout.close()  # the provider leaves that to the end of the process


def test_the_order_is_the_only_argument_and_comes_back(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = program(tmp_path / "bin", monkeypatch, exit_code=0)
    order = tasks.order(TABLE, **context)
    assert compute(order, context) == order
    python, *arguments = noted.read_text().splitlines()
    assert arguments[-2:] == [str(Path("spark_jobs/compute.py").resolve()), order]
    assert arguments[:2] == ["--master", "local[2]"]
    assert "--py-files" in arguments
    assert Path(python).exists()


def test_every_later_attempt_computes_an_order_with_an_output_of_its_own(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_pipelines.orders import read_order

    program(tmp_path / "bin", monkeypatch, exit_code=0)
    first = tasks.order(TABLE, **context)
    computed = [compute(first, context)]
    for attempt in (2, 3):
        context["ti"].try_number = attempt
        computed.append(compute(first, context))
    orders = [read_order(environment.load(), uri) for uri in computed]
    assert computed[0] == first
    assert len({order.output for order in orders}) == 3
    assert len({tuple(sorted(order.builds.items())) for order in orders}) == 1


def test_broken_data_is_refused_for_good(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", monkeypatch, exit_code=3)  # and no report: it refused what it was told to compute
    with pytest.raises(DataError, match=r"refused the table.s definition or the order .* its last words") as refusal:
        compute(tasks.order(TABLE, **context), context)
    assert retry_policy().evaluate(refusal.value, 1, 3).action.value == "fail"


def test_storage_that_refuses_is_refused_for_good_and_names_the_connection(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", monkeypatch, exit_code=4)
    with pytest.raises(DataError, match="Check connection my_feast_cloud") as refusal:
        compute(tasks.order(TABLE, **context), context)
    assert retry_policy().evaluate(refusal.value, 1, 3).action.value == "fail"


def test_the_application_on_a_cluster_has_its_page_while_it_runs(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = program(tmp_path / "bin", monkeypatch, exit_code=0, says="Spark application app-7")
    pushed: dict[str, str] = {}
    context["ti"].xcom_push = lambda key, value: pushed.update({key: value})
    with socket.create_server(("127.0.0.1", 0)) as master:
        told = {"conn_type": "spark", "host": "spark://127.0.0.1", "port": master.getsockname()[1]}
        told["extra"] = {"ui": "http://spark:8080", "conf": {"spark.executor.memory": "7g"}}
        monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(told))
        compute(tasks.order(TABLE, **context), context)
    assert pushed == {"_link_SparkApplicationLink": "http://spark:8080/app/?appId=app-7"}
    arguments = noted.read_text().splitlines()
    assert "spark.executor.memory=7g" in arguments
    assert "spark.driver.host=127.0.0.1" in arguments


def test_the_page_is_a_button_of_the_task(bag: DagBag) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    tasks_of = DagSerialization.to_dict(bag.dags[TABLE])["dag"]["tasks"]
    told = next(task["__var"] for task in tasks_of if task["__var"]["task_id"] == "compute")
    assert told["_operator_extra_links"] == {"Spark application": "_link_SparkApplicationLink"}


def test_no_secret_is_in_a_field_that_the_ui_shows(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = program(tmp_path / "bin", monkeypatch, exit_code=0, says='"$CANARY"')
    settings = Reach({"spark.hadoop.x": "${env.CANARY}"}, {"CANARY": "tweet"})
    monkeypatch.setattr("feature_pipelines.computing.of_connection", lambda *_: ("local[2]", settings))
    operator = ComputeOrder(task_id="compute", table=TABLE, order=tasks.order(TABLE, **context))
    operator.execute(context)
    operator._hook._submit_sp.stdout.close()
    shown = {name: str(getattr(operator, name)) for name in operator.template_fields}
    assert "tweet" not in str(shown)
    assert "${env.CANARY}" in shown["conf"]
    assert "tweet" not in noted.read_text()
    assert "tweet" in operator._hook._last_submit_log_lines  # the program itself has it


def test_a_spark_that_fails_otherwise_may_be_retried_and_says_its_last_words(
    context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", monkeypatch, exit_code=1)
    with pytest.raises(AirflowException, match="spark was here") as failure:
        compute(tasks.order(TABLE, **context), context)
    assert retry_policy().evaluate(failure.value, 1, 3).action.value == "default"


def test_nothing_stale_skips_the_order(context: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_pipelines.builds import expected_builds

    env = environment.load()
    builds = expected_builds(env, TABLE, resolve_window(context).days())
    publish_as_current(env, builds)
    with pytest.raises(AirflowSkipException, match="every day is current"):
        tasks.order(TABLE, **context)
    context["ti"].try_number = 2
    with pytest.raises(AirflowSkipException, match="every day is current by now"):
        compute("file:///an/older/order.json", context)
    context["params"]["force"] = True
    assert tasks.order(TABLE, **context).endswith(".json")


def publish_as_current(env: environment.Environment, builds: Any) -> None:
    """A feature table whose live builds are these, without rows."""
    import deltalake
    import pyarrow as pa

    from feature_pipelines.schemas import feature_schema
    from spark_jobs.features import feature_tables

    schema = feature_schema(feature_tables()[TABLE])
    for name in ("interval_start", "build"):
        schema = schema.append(pa.field(name, pa.string()))
    rows = [
        {field.name: None for field in schema} | {"origin": "EWR", "interval_start": day, "build": build}
        for day, build in builds.items()
    ]
    table = pa.Table.from_pylist(rows, schema=schema)
    deltalake.write_deltalake(env.features(TABLE).uri, table, partition_by=["interval_start", "build"])
