"""Cloud tables on Databricks and on-prem tables on local Spark, through real Airflow: scheduler, triggerer, extra link.

The workspace is the one of tests/databricks: it speaks the Jobs API over HTTPS and really runs the submitted wheel.
"""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from feature_pipelines.environment import CHECKOUT
from spark_jobs.features import feature_tables
from tests import oracle
from tests.databricks.certificate import make_certificate
from tests.databricks.faults import REALLY
from tests.databricks.server import serving
from tests.databricks.wheel_runner import Cluster
from tests.databricks.workspace import Workspace
from tests.end_to_end.answers import online_differences, published_differences
from tests.end_to_end.conftest import Platform, running

pytestmark = pytest.mark.end_to_end

DAYS = ["2013-01-01", "2013-01-02"]
CLOUD = [name for name, table in feature_tables().items() if table.lake == "cloud"]
COMPUTE = {
    "kind": "databricks",
    "new_cluster": {"spark_version": "17.3.x-scala2.13", "node_type_id": "Standard_D4ds_v5", "num_workers": 1},
    "poll_seconds": 1,
}


@dataclass
class Hybrid:
    """A running Airflow whose cloud lake is computed by a workspace."""

    platform: Platform
    workspace: Workspace
    cluster: Cluster


def copied_checkout(folder: Path) -> Path:
    """The Feast repository with an environment more: the embedded one, whose cloud lake is computed on Databricks."""
    shutil.copytree(CHECKOUT / "feature_repo", folder / "feature_repo")
    environments = folder / "feature_repo" / "environments"
    config = yaml.safe_load((environments / "embedded" / "feature_store.yaml").read_text())
    config["compute"] = {"on_prem": {"kind": "spark"}, "cloud": COMPUTE}
    (environments / "hybrid").mkdir()
    (environments / "hybrid" / "feature_store.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hybrid]:
    """The launcher's first two days on it."""
    home = tmp_path_factory.mktemp("hybrid")
    checkout, certificate = copied_checkout(tmp_path_factory.mktemp("checkout")), make_certificate(home)
    workspace, cluster = Workspace(runs_as=[[REALLY], [REALLY], [REALLY]]), Cluster(home / "cluster", {})
    workspace.execute = cluster.execute
    with serving(workspace, certificate) as host, pytest.MonkeyPatch.context() as patch:
        connection = {
            "conn_type": "databricks",
            "host": host,
            "login": workspace.client_id,
            "password": workspace.client_secret,
            "extra": {"service_principal_oauth": True},
        }
        for name, value in {
            "MY_FEAST_CHECKOUT": str(checkout),
            "AIRFLOW_CONN_DATABRICKS_DEFAULT": json.dumps(connection),
            "REQUESTS_CA_BUNDLE": str(certificate.authority),  # the worker's calls
            "SSL_CERT_FILE": str(certificate.authority),  # the triggerer's
        }.items():
            patch.setenv(name, value)
        with running(home, "hybrid") as platform:
            yield Hybrid(platform, workspace, cluster)


def test_one_cloud_table_is_one_run_and_it_ran_the_wheel(hybrid: Hybrid) -> None:
    assert [run.name.split()[0] for run in hybrid.workspace.runs.values()] == [f"my_feast.{name}" for name in CLOUD]
    assert hybrid.workspace.started == len(CLOUD) == hybrid.cluster.executed, hybrid.cluster.logs()


def test_published_and_online_values_equal_the_oracle_on_both_lakes(hybrid: Hybrid, tmp_path: Path) -> None:
    env = hybrid.platform.env
    for table in feature_tables():
        assert published_differences(env, table, DAYS, landed=DAYS) == []
        assert online_differences(env, table, DAYS, landed=DAYS, folder=tmp_path) == []


def test_the_task_was_deferred_and_its_link_leads_to_the_run(hybrid: Hybrid) -> None:
    (run,) = hybrid.workspace.runs.values()
    api, (table,) = hybrid.platform.api, CLOUD
    (dag_run,) = api._get(f"/api/v2/dags/{table}/dagRuns")["dag_runs"]
    where = f"/api/v2/dags/{table}/dagRuns/{dag_run['dag_run_id']}/taskInstances/compute"
    assert api._get(f"{where}/links")["extra_links"] == {"See Databricks Job Run": run.page}
    log = str(api._get(f"{where}/logs/1"))
    assert "DEFERRED" in log or "Pausing task as" in log
    assert "succeeded" in log


def test_running_again_asks_databricks_for_nothing_and_force_for_one_more(hybrid: Hybrid, tmp_path: Path) -> None:
    platform = hybrid.platform
    platform.finish(*[platform.start(table, DAYS[0], "2013-01-03") for table in CLOUD])
    assert hybrid.workspace.started == 1
    platform.finish(*[platform.start(table, DAYS[0], "2013-01-03", force=True) for table in CLOUD])
    assert hybrid.workspace.started == 2
    for table in CLOUD:
        assert published_differences(platform.env, table, DAYS, landed=DAYS) == []
        assert online_differences(platform.env, table, DAYS, landed=DAYS, folder=tmp_path) == []


def test_the_example_notebook_reads_one_training_set_over_both_lakes(
    hybrid: Hybrid, capsys: pytest.CaptureFixture[str]
) -> None:
    training = runpy.run_path(str(CHECKOUT / "docs" / "examples" / "training_set.py"))["training"]
    assert "percent" in capsys.readouterr().out
    assert len(training) == sum(1 for flight in oracle.flights(DAYS) if flight["tailnum"] and flight["departed_at"])
    for table, feature, key in [
        ("airport_weather_hourly", "temp", "origin"),  # cloud
        ("airport_hourly", "mean_dep_delay", "origin"),  # on-prem
    ]:
        newest = sorted(oracle.rows(table, DAYS, landed=DAYS), key=lambda row: row["event_timestamp"])
        for row in training.to_dict("records"):
            then = [
                each for each in newest if each[key] == row[key] and each["event_timestamp"] <= row["event_timestamp"]
            ]
            expected = then[-1][feature] if then else None
            found = row[f"{table}__{feature}"]
            assert oracle.same(expected, None if found != found else found), (table, row)  # noqa: PLR0124 - NaN
