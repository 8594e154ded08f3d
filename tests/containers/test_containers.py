"""The containers of docker-compose.yaml do what the processes of test_cluster.py do; the tests follow one another on one stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spark_jobs.features import feature_tables
from tests.airflow_runs import RUN_SECONDS
from tests.cluster.comparison import WEATHER_TABLE
from tests.cluster.steps import STEPS
from tests.containers.engine import lacking
from tests.containers.stack import Stack, new_stack
from tests.services.programs import wait_until

pytestmark = pytest.mark.cluster

DAYS = ("2013-01-01", "2013-01-02")
END = "2013-01-03"
FAULTS = ("--late", "0.05", "--doubled", "0.05", "--broken", "0.03")
TABLE = "aircraft_daily"
WORKER = "spark-worker-1"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything up and healthy, every DAG unpaused; neither container, volume nor network is left of it at the end."""
    reason = lacking()
    if reason:
        pytest.skip(f"not available: {reason}")
    made = new_stack(tmp_path_factory.mktemp("containers"))
    try:
        with STEPS.step("containers: build the images, start everything with docker/up.py"):
            made.up()
        STEPS.started(made.services())
        yield made
    finally:
        with STEPS.step("containers: take them down") as step:
            left = made.down()
            step.outcome = f"{len(left)} containers, volumes and networks left"
            assert left == []


def test_two_days_over_all_containers_equal_the_oracle(stack: Stack) -> None:
    with STEPS.step("containers: replay two days of weather into Kafka"):
        assert "records sent" in stack.my_feast("replay", "--start", DAYS[0], "--end", END, *FAULTS)
    with STEPS.step("containers: land, compute, publish, materialize two days"):
        stack.run_days(DAYS[0], END)
    stack.compare(*DAYS)


def test_a_job_that_loses_a_worker_ends_right(stack: Stack) -> None:
    wait_until(lambda: not stack.spark.applications(), what="no application runs", seconds=RUN_SECONDS)
    with STEPS.step(f"containers: {WORKER} killed in mid-job"):
        run = stack.start(TABLE, DAYS[0], END, force=True)
        wait_until(lambda: stack.cores_used(WORKER) > 0, what=f"an executor on {WORKER}", seconds=RUN_SECONDS)
        assert stack.state(run, "compute") == "running"
        stack.kill(WORKER)
        try:
            stack.finish(run)
        finally:
            stack.again(WORKER)
    stack.compare(*DAYS)


def test_landing_survives_the_loss_of_the_datanode(stack: Stack) -> None:
    with STEPS.step("containers: datanode killed before landing"):
        stack.kill("datanode")
        run = stack.start("land_flights", END, "2013-01-04")
        try:
            stack.wait_for_state(run, "land", "up_for_retry", "failed")
        finally:
            stack.again("datanode")
        stack.finish(run)
    stack.compare(*DAYS)


def test_a_redis_that_crashed_is_filled_again(stack: Stack) -> None:
    with STEPS.step("containers: Redis killed before materialize"):
        stack.kill("redis")
        first = stack.start(TABLE, DAYS[0], END)
        try:
            stack.wait_for_state(first, "materialize", "up_for_retry", "failed")
        finally:
            stack.again("redis")
        others = [stack.start(table, DAYS[0], END) for table in feature_tables() if table != TABLE]
        stack.finish(first, *others)
    stack.compare(*DAYS)


def test_a_run_survives_the_loss_of_the_scheduler(stack: Stack) -> None:
    with STEPS.step("containers: airflow-scheduler killed in mid-run"):
        run = stack.start(WEATHER_TABLE, DAYS[0], END, force=True)
        stack.wait_for_state(run, "compute", "running")
        stack.kill("airflow-scheduler")
        stack.again("airflow-scheduler")
        stack.finish(run)
    stack.compare(*DAYS)


def test_landing_both_days_again_commits_nothing(stack: Stack) -> None:
    before = stack.my_feast("status", "--lakes-only")
    with STEPS.step("containers: land both days again"):
        stack.finish(*(stack.start(dag, DAYS[0], END) for dag in ("land_flights", "land_weather")))
    assert stack.my_feast("status", "--lakes-only") == before
