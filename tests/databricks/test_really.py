"""The submitted wheel really runs, in a process that has nothing else of this checkout; its rows are published."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from feast_lakehouse.errors import DataError
from feature_pipelines.publishing import publish_order
from spark_jobs.wheel import build_wheel
from tests.databricks.faults import REALLY
from tests.databricks.scene import DAYS, TABLE, Scene
from tests.databricks.wheel_runner import Cluster
from tests.end_to_end.answers import published_differences

# The provider's own ways of finding its version and of logging in.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated"),
    pytest.mark.filterwarnings("ignore:.*will be removed in (aiohttp 4|v4):DeprecationWarning"),
]

VOLUME = "/Volumes/ops/my_feast/wheels"


@pytest.fixture
def cluster(scene: Scene) -> Cluster:
    """A cluster on which the volume is the lake's folder of wheels."""
    cluster = Cluster(scene.folder / "cluster", {VOLUME: scene.folder / "home" / "lakes" / "cloud" / "_wheels"})
    scene.workspace.execute = cluster.execute
    scene.workspace.runs_as = [[REALLY]]
    return cluster


def differences(scene: Scene, order: str) -> list[str]:
    """Between the oracle and the table, once the order is published."""
    assert publish_order(scene.env, order).changed
    assert set(scene.env.features(TABLE).live_builds()) == set(DAYS)
    return published_differences(scene.env, TABLE, list(DAYS), landed=list(DAYS))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="job cluster"),
        pytest.param({"serverless": {"environment_version": "4"}, "wheels": VOLUME}, id="serverless"),
    ],
)
def test_the_wheel_computes_the_order_and_its_rows_are_published(
    scene: Scene, cluster: Cluster, settings: dict[str, Any]
) -> None:
    scene.compute(**settings, poll_seconds=0.2)
    outcome = scene.run(deferrable=True)
    assert outcome.result, (outcome.errors, cluster.logs())
    assert outcome.gave_up == []
    assert differences(scene, outcome.result) == []


def test_a_wheel_of_another_version_is_refused_by_name_and_nothing_is_published(
    scene: Scene, cluster: Cluster, tmp_path: Path
) -> None:
    old = older_wheel(tmp_path)
    task = {
        "task_key": "compute",
        "libraries": [{"whl": f"file://{old}"}],
        "python_wheel_task": {"package_name": "my_feast_spark_jobs", "entry_point": "compute"},
    }
    scene.workspace.add_job("my_feast_compute", task)
    scene.compute(job="my_feast_compute", poll_seconds=0.2)
    outcome = scene.run(deferrable=True)
    (run,) = scene.workspace.runs.values()
    assert isinstance(outcome.error, DataError)
    assert outcome.tries == 1
    text = str(outcome.error)
    assert f"Databricks run {run.run_id}, {run.page}" in text
    assert f"{TABLE} has definition" in text
    assert "the order wants" in text
    with pytest.raises(DataError, match="expected a report"):
        publish_order(scene.env, scene.order())


def older_wheel(folder: Path) -> Path:
    """This wheel with another COMPUTE_VERSION inside."""
    now, old = build_wheel(folder), folder / "older.whl"
    with zipfile.ZipFile(now) as source, zipfile.ZipFile(old, "w") as target:
        for item in source.infolist():
            data = source.read(item)
            if item.filename == "spark_jobs/definition.py":
                data = data.replace(b"COMPUTE_VERSION = 1", b"COMPUTE_VERSION = 0")
                assert b"COMPUTE_VERSION = 0" in data
            target.writestr(item, data)
    return old


def test_a_job_cluster_that_is_ended_in_mid_run_goes_on_as_the_same_run(scene: Scene, cluster: Cluster) -> None:
    scene.workspace.runs_as = [[REALLY, REALLY]]
    scene.compute(poll_seconds=0.2)
    cluster.kill_next = True
    outcome = scene.run(deferrable=True)
    assert outcome.result, (outcome.errors, cluster.logs())
    assert outcome.tries == 2
    (run,) = scene.workspace.runs.values()
    assert len(run.attempts) == 2
    assert differences(scene, outcome.result) == []


def test_pip_accepts_the_wheel(tmp_path: Path) -> None:
    import subprocess
    import sys

    uv = Path(sys.executable).with_name("uv")
    wheel = build_wheel(tmp_path)
    command = [
        str(uv),
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--offline",
        "--target",
        str(tmp_path / "to"),
        str(wheel),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "to" / "spark_jobs" / "wheel_task.py").exists()
    first = wheel.read_bytes()
    shutil.rmtree(tmp_path / "to")
    assert build_wheel(tmp_path).read_bytes() == first
