"""Where a table is computed: one line of the environment's file, read when the DAGs are parsed and nothing in it resolved."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from airflow.sdk import DAG

from feature_pipelines.environment import EnvironmentBroken
from feature_pipelines.table_dag import table_dag
from spark_jobs.features import feature_tables
from tests.dags.conftest import CHECKOUT

CLOUD = "airport_weather_hourly"
ON_PREM = "aircraft_daily"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environments of this checkout to change; of `azure`, whose variables nobody sets."""
    shutil.copytree(CHECKOUT / "feature_repo" / "environments", tmp_path / "feature_repo" / "environments")
    monkeypatch.setenv("MY_FEAST_CHECKOUT", str(tmp_path))
    monkeypatch.setenv("MY_FEAST_ENVIRONMENT", "azure")
    for name in re.findall(r"\$\{(\w+)\}", azure(tmp_path).read_text()):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def azure(checkout: Path) -> Path:
    return checkout / "feature_repo" / "environments" / "azure" / "feature_store.yaml"


def steps(dag: DAG) -> dict[str, tuple[str, list[str]]]:
    return {task.task_id: (type(task).__name__, sorted(task.upstream_task_ids)) for task in dag.tasks}


def test_the_same_table_moves_from_spark_to_databricks_by_one_line(checkout: Path) -> None:
    table = feature_tables()[CLOUD]
    on_databricks = steps(table_dag(table))
    text = azure(checkout).read_text()
    assert text.count("kind: databricks") == 1
    azure(checkout).write_text(text.replace("kind: databricks", "kind: spark"))
    on_spark = steps(table_dag(table))

    assert on_databricks.pop("compute") == ("ComputeOnDatabricks", ["order"])
    assert on_spark.pop("compute") == ("ComputeOrder", ["order"])
    assert on_databricks == on_spark


def test_tables_of_another_lake_stay_where_they_are(checkout: Path) -> None:
    assert steps(table_dag(feature_tables()[ON_PREM]))["compute"][0] == "ComputeOrder"


def test_on_databricks_it_is_deferred_durable_and_takes_no_slot_of_the_on_prem_spark(checkout: Path) -> None:
    compute = table_dag(feature_tables()[CLOUD]).get_task("compute")
    assert (compute.deferrable, compute.durable, compute.pool) == (True, True, "default_pool")
    assert compute.databricks_conn_id == "databricks_default"
    assert compute.retries == 2
    assert "order" in compute.template_fields
    assert [link.name for link in compute.operator_extra_links] == ["See Databricks Job Run"]


def test_an_unknown_kind_is_refused_with_the_known_ones(checkout: Path) -> None:
    text = azure(checkout).read_text()
    azure(checkout).write_text(text.replace("kind: databricks", "kind: synapse"))
    with pytest.raises(EnvironmentBroken, match=r"compute.cloud.kind is 'synapse', expected one of spark, databricks"):
        table_dag(feature_tables()[CLOUD])


def test_the_dags_of_the_azure_environment_serialize_and_come_back(checkout: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = table_dag(feature_tables()[CLOUD])
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert sorted(again.task_dict) == sorted(dag.task_dict)
    (link,) = again.get_task("compute").operator_extra_links
    assert (link.name, link.xcom_key) == ("See Databricks Job Run", "_link_DatabricksJobRunLink")
