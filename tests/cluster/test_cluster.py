"""The same DAGs on the cluster environment; the tests follow one another on one running cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_pipelines.embedded.run import versions
from feature_pipelines.embedded.services import dag_names
from feature_pipelines.environment import CHECKOUT
from spark_jobs.features import feature_tables
from tests.airflow_runs import RUN_SECONDS
from tests.cluster import canary
from tests.cluster.canary import CommandLines
from tests.cluster.cluster import Cluster
from tests.cluster.steps import STEPS
from tests.services.programs import wait_until

pytestmark = pytest.mark.cluster

DAYS = ["2013-01-01", "2013-01-02"]
END = "2013-01-03"
FAULTS = ["--late", "0.05", "--doubled", "0.05", "--broken", "0.03"]
TABLE = "aircraft_daily"
CLOUD_TABLE = "airport_weather_hourly"


def test_airflow_lists_the_same_dag_files_as_everywhere(cluster: Cluster) -> None:
    assert set(cluster.api.dags()) == dag_names()
    files = {file.read_text(encoding="utf-8") for file in (CHECKOUT / "dags").glob("*.py")}
    shown = {cluster.api._get(f"/api/v2/dagSources/{dag}")["content"] for dag in dag_names()}
    assert shown == files


def test_two_days_over_all_systems_equal_the_oracle(cluster: Cluster, tmp_path: Path) -> None:
    with STEPS.step("replay two days of weather into Kafka"):
        printed = cluster.my_feast("replay", "--start", DAYS[0], "--end", END, *FAULTS)
        assert "records sent" in printed
    with STEPS.step("land, compute, publish, materialize two days"):
        cluster.run_days(DAYS[0], END)
    cluster.compare(DAYS, tmp_path)


def test_landing_the_stream_again_commits_nothing(cluster: Cluster) -> None:
    before, raw = versions(cluster.env), files_of(cluster, "weather")
    with STEPS.step("land both days from Kafka again"):
        cluster.finish(cluster.start("land_weather", DAYS[0], END))
    assert versions(cluster.env) == before
    assert files_of(cluster, "weather") == raw
    assert cluster.env.rejected("weather").exists()


def files_of(cluster: Cluster, source: str) -> dict[str, int]:
    return {path: entry.size for path, entry in cluster.env.raw(source).state().files.items()}


@pytest.mark.parametrize("fault", ["worker killed", "worker cut off", "executor killed"])
def test_a_job_that_loses_a_part_of_spark_ends_right(cluster: Cluster, tmp_path: Path, fault: str) -> None:
    spark = cluster.systems.spark
    wait_until(lambda: not spark.applications(), what="no application runs", seconds=RUN_SECONDS)
    strike: dict[str, Callable[[], None]] = {
        "worker killed": lambda: spark.kill_worker("worker1"),
        "worker cut off": lambda: spark.cut_off("worker1"),
        "executor killed": lambda: os.kill(spark.executors("worker1")[0], signal.SIGKILL),
    }
    repair: dict[str, Callable[[], None]] = {
        "worker killed": lambda: spark.start_worker("worker1"),
        "worker cut off": lambda: spark.reconnect("worker1"),
        "executor killed": lambda: None,
    }
    with STEPS.step(f"{fault} in mid-job"):
        run = cluster.start(TABLE, DAYS[0], END, force=True)
        wait_until(lambda: bool(spark.executors("worker1")), what="an executor on worker1", seconds=RUN_SECONDS)
        assert cluster.state(run, "compute") == "running"
        strike[fault]()
        try:
            cluster.finish(run)
        finally:
            repair[fault]()
    cluster.compare(DAYS, tmp_path)
    wait_until(lambda: spark.alive_workers() == len(spark.names), what="both workers", seconds=RUN_SECONDS)


def test_landing_survives_the_loss_of_the_datanode(cluster: Cluster, tmp_path: Path) -> None:
    with STEPS.step("datanode killed while landing"):
        cluster.systems.hdfs.kill("datanode1")
        run = cluster.start("land_flights", END, "2013-01-04")
        try:
            cluster.wait_for_state(run, "land", "up_for_retry", "failed")
        finally:
            cluster.systems.hdfs.restart("datanode1")
        cluster.finish(run)
    cluster.compare(DAYS, tmp_path)


def test_a_redis_that_lost_everything_is_filled_again(cluster: Cluster, tmp_path: Path) -> None:
    with STEPS.step("Redis killed before materialize"):
        cluster.systems.redis.kill()
        first = cluster.start(TABLE, DAYS[0], END)
        try:
            cluster.wait_for_state(first, "materialize", "up_for_retry", "failed")
        finally:
            cluster.systems.redis.restart()
        others = [cluster.start(table, DAYS[0], END) for table in feature_tables() if table != TABLE]
        cluster.finish(first, *others)
    cluster.compare(DAYS, tmp_path)


def test_a_run_survives_the_loss_of_the_scheduler(cluster: Cluster, tmp_path: Path) -> None:
    with STEPS.step("scheduler killed in mid-run"):
        run = cluster.start(CLOUD_TABLE, DAYS[0], END, force=True)
        cluster.wait_for_state(run, "compute", "running")
        os.killpg(cluster.airflow.pid("scheduler"), signal.SIGKILL)
        wait_until(lambda: not cluster.airflow.alive("scheduler"), what="the scheduler is gone", seconds=60)
        cluster.airflow.again("scheduler")
        cluster.finish(run)
    cluster.compare(DAYS, tmp_path)


def test_no_secret_is_where_others_can_read_it(cluster: Cluster, command_lines: CommandLines) -> None:
    home, secrets = cluster.home, cluster.systems.secrets()
    kept = [home / "redis" / "users.acl", home / "kafka" / "server.properties"]
    with STEPS.step("look for secrets"):
        assert all(canary.found_in(file.read_bytes(), secrets) for file in kept), "the search finds what is there"
        assert all(file.stat().st_mode & 0o077 == 0 for file in kept)
        assert canary.found_in_files(home, secrets, but=kept) == []
        assert canary.found_in_database(cluster.systems.postgres, secrets) == []
        assert len(command_lines.seen) > 50
        assert command_lines.found == set()
