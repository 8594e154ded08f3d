"""One order, one run: who asks again, from wherever, gets the run there is; what it is called; who ends it."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from feature_pipelines.databricks_order import Work
from feature_pipelines.databricks_payload import idempotency_token
from feature_pipelines.environment import EnvironmentBroken
from feature_pipelines.orders import read_order
from feature_pipelines.publishing import publish_order
from spark_jobs.wheel import file_name
from tests.databricks.faults import FOR_EVER, WELL, Ending, Fault, ended, failed
from tests.databricks.scene import TABLE, Scene
from tests.databricks.workspace import Run

# The provider's own ways of finding its version and of logging in.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated"),
    pytest.mark.filterwarnings("ignore:.*will be removed in (aiohttp 4|v4):DeprecationWarning"),
]


def only_run(scene: Scene) -> Run:
    (run,) = scene.workspace.runs.values()
    return run


def another(scene: Scene, **changes: Any) -> Scene:
    """The same task in another DAG run."""
    return replace(scene, store=type(scene.store)(), pushed={}, **changes)


def test_one_order_submitted_twice_gives_one_run(scene: Scene) -> None:
    order = scene.order()
    operator, other = (scene.operator(order, deferrable=False) for _ in range(2))
    assert operator.submit_job(scene.context()) == other.submit_job(scene.context())
    assert scene.workspace.started == 1


def test_many_workers_at_once_get_one_run(scene: Scene) -> None:
    order = scene.order()
    operators = [scene.operator(order, deferrable=False) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda each: each.submit_job(scene.context()), operators))
    assert len(set(given)) == 1
    assert scene.workspace.started == 1


def test_another_dag_run_over_the_same_days_finds_the_run(scene: Scene) -> None:
    first = scene.run(deferrable=True)
    second = another(scene, run_id="manual__1").run(deferrable=False)
    assert first.result == second.result
    assert scene.workspace.started == 1


def test_a_worker_that_dies_after_submitting_is_followed_by_one_that_finds_the_run(scene: Scene) -> None:
    order = scene.order()
    scene.operator(order, deferrable=False).submit_job(scene.context())  # and here the worker is gone
    outcome = scene.run(deferrable=False)
    assert outcome.result == order
    assert scene.workspace.started == 1


def test_a_stored_run_is_found_without_asking_for_another(scene: Scene) -> None:
    scene.workspace.faults = [Fault("get", 503, skip=1, times=2)]
    outcome = scene.run(deferrable=False)
    assert outcome.tries == 2
    assert scene.store == {"databricks_run_id": only_run(scene).run_id}
    assert scene.workspace.count("submit") == 1


def test_force_gives_an_order_of_its_own_once_per_dag_run(scene: Scene) -> None:
    scene.run(deferrable=True)
    forced = another(scene, force=True, run_id="manual__1")
    orders = {forced.order() for _ in range(3)}
    assert len(orders) == 1
    forced.run(deferrable=True)
    forced.run(deferrable=True)
    assert scene.workspace.started == 2
    again = another(scene, force=True, run_id="manual__2")
    assert again.order() not in orders


def test_published_and_computed_again_is_no_commit_and_no_run(scene: Scene) -> None:
    outcome = scene.run(deferrable=True)
    assert outcome.result
    assert publish_order(scene.env, outcome.result).changed
    assert not publish_order(scene.env, outcome.result).changed


def test_the_token_is_a_function_of_the_order_and_short_enough(scene: Scene) -> None:
    order = scene.order()
    scene.run(deferrable=True)
    (token,) = scene.workspace.tokens
    assert token == idempotency_token(order)
    assert len(token) <= 64
    assert idempotency_token(order.replace("cloud", "elsewhere")) != token


def test_what_a_run_is_called_tagged_and_limited_to(scene: Scene) -> None:
    scene.compute(tags={"team": "weather"}, timeout_minutes=30)
    outcome = scene.run(deferrable=True)
    order, run = read_order(scene.env, str(outcome.result)), only_run(scene)
    assert run.name == f"my_feast.{TABLE} 2013-01-01 to 2013-01-02 {order.order_id[:8]}"
    assert run.timeout == 1800
    (task,) = run.tasks
    assert task["new_cluster"]["custom_tags"] == {
        "team": "weather",
        "project": "my_feast",
        "table": TABLE,
        "lake": "cloud",
        "order": order.order_id,
    }
    assert task["libraries"] == [{"whl": f"file://{scene.folder}/home/lakes/cloud/_wheels/{file_name()}"}]
    assert task["python_wheel_task"] == {
        "package_name": "my_feast_spark_jobs",
        "entry_point": "compute",
        "named_parameters": {"order": outcome.result},
    }
    assert "dbfs" not in json.dumps(run.tasks)


@pytest.mark.parametrize("deferrable", [True, False])
def test_number_and_page_are_pushed_for_the_extra_link(scene: Scene, *, deferrable: bool) -> None:
    from airflow.providers.databricks.operators.databricks import DatabricksJobRunLink

    outcome = scene.run(deferrable=deferrable)
    run = only_run(scene)
    assert scene.pushed == {"run_id": run.run_id, "run_page_url": run.page}
    operator = scene.operator(str(outcome.result), deferrable=deferrable)
    assert [type(link) for link in operator.operator_extra_links] == [DatabricksJobRunLink]


def test_serverless_compute_gets_the_wheel_as_a_dependency_through_its_volume(scene: Scene) -> None:
    scene.compute(serverless={"environment_version": "4"}, wheels="/Volumes/ops/my_feast/wheels")
    scene.run(deferrable=True)
    run = only_run(scene)
    assert run.environments["spark_jobs"] == {
        "environment_version": "4",
        "dependencies": [f"/Volumes/ops/my_feast/wheels/{file_name()}"],
    }
    assert run.tasks[0]["environment_key"] == "spark_jobs"
    assert "libraries" not in run.tasks[0]
    assert (scene.folder / "home" / "lakes" / "cloud" / "_wheels" / file_name()).exists()


def test_an_existing_cluster(scene: Scene) -> None:
    scene.compute(existing_cluster="1123-200000-abcdefgh")
    scene.run(deferrable=True)
    assert only_run(scene).tasks[0]["existing_cluster_id"] == "1123-200000-abcdefgh"


@pytest.mark.parametrize("named", ["by name", "by number"])
def test_a_job_is_run_with_the_order_as_its_parameter(scene: Scene, named: str) -> None:
    task = {"python_wheel_task": {"package_name": "p", "entry_point": "e"}, "task_key": "compute"}
    number = scene.workspace.add_job("my_feast_compute", task)
    scene.compute(job="my_feast_compute" if named == "by name" else number)
    outcome = scene.run(deferrable=True)
    run = only_run(scene)
    assert (run.kind, run.job_id) == ("JOB_RUN", number)
    assert run.tasks[0]["python_wheel_task"]["named_parameters"] == {"order": outcome.result}
    assert not (scene.folder / "home" / "lakes" / "cloud" / "_wheels").exists()


def test_a_jobs_run_that_is_repaired_is_given_its_order_again(scene: Scene) -> None:
    task = {"python_wheel_task": {"package_name": "p", "entry_point": "e"}, "task_key": "compute"}
    scene.compute(job=scene.workspace.add_job("my_feast_compute", task))
    scene.workspace.runs_as = [[failed("SparkException: Job aborted: executor 3 exited"), WELL]]
    outcome = scene.run(deferrable=True)
    run = only_run(scene)
    assert (outcome.tries, len(run.attempts)) == (2, 2)
    assert run.tasks[0]["python_wheel_task"]["named_parameters"] == {"order": outcome.result}


def test_a_job_that_is_not_deployed_is_an_error_that_says_so(scene: Scene) -> None:
    scene.compute(job="my_feast_compute")
    outcome = scene.run(deferrable=True)
    assert "there is no job 'my_feast_compute'. Deploy the bundle" in str(outcome.error)
    assert outcome.tries == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_ending_the_task_cancels_the_run_and_the_next_try_goes_on_with_it(scene: Scene, *, deferrable: bool) -> None:
    scene.workspace.runs_as = [[Ending(waiting=FOR_EVER, terminating=3), Ending()]]
    operator = scene.operator(scene.order(), deferrable=deferrable)
    scene.store.set(operator.external_id_key, operator.submit_job(scene.context()))  # as execute_resumable keeps it
    operator.on_kill()
    assert only_run(scene).cancelled
    assert_goes_on(scene, deferrable=deferrable)


def test_ending_a_deferred_task_cancels_the_run_and_the_next_try_goes_on_with_it(scene: Scene) -> None:
    scene.workspace.runs_as = [[Ending(waiting=FOR_EVER, terminating=3), Ending()]]
    with pytest.raises(TaskDeferred) as deferral:
        scene.operator(scene.order(), deferrable=True).execute(scene.context())
    asyncio.run(deferral.value.trigger.on_kill())
    assert only_run(scene).cancelled
    assert_goes_on(scene, deferrable=True)


def assert_goes_on(scene: Scene, *, deferrable: bool) -> None:
    """As a repair, although Databricks is still busy with the cancel when the next try looks."""
    outcome = scene.run(deferrable=deferrable)
    assert outcome.result, outcome.errors
    assert outcome.errors == []
    assert results(only_run(scene)) == ["CANCELED", "SUCCESS"]


def results(run: Run) -> list[str]:
    """Of all attempts, from the first on."""
    return [attempt["state"]["result_state"] for attempt in run.attempts]


def test_a_cancelled_run_goes_on_when_the_task_is_cleared(scene: Scene) -> None:
    cancelled = ended("TERMINATED", "CANCELED", "USER_CANCELED", "Run cancelled by ana@example.com.")
    scene.workspace.runs_as = [[cancelled, Ending()]]
    assert scene.run(deferrable=True).result is None
    assert scene.run(deferrable=True).result
    assert [len(run.attempts) for run in scene.workspace.runs.values()] == [2]


def test_a_personal_access_token_will_do_when_there_is_no_service_principal(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = scene.workspace.login()["access_token"]
    host = scene.workspace.address.removeprefix("https://")
    told = json.dumps({"conn_type": "databricks", "host": host, "password": token})
    monkeypatch.setenv("AIRFLOW_CONN_DATABRICKS_DEFAULT", told)
    assert scene.run(deferrable=True).result
    assert scene.workspace.count("token") == 0


def test_no_secret_is_in_a_payload_an_order_or_a_note(scene: Scene) -> None:
    outcome = scene.run(deferrable=True)
    work = Work.load(scene.env, str(outcome.result))
    told = [json.dumps(work.submit_request()), *only_run(scene).page, str(scene.pushed)]
    folder = scene.folder / "home" / "lakes" / "cloud" / "features" / TABLE / "_orders"
    written = [file.read_text() for file in folder.iterdir()]
    assert len(written) == 2
    assert not any(scene.workspace.client_secret in text for text in (*told, *written))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "found none"),
        ({"job": "a", "existing_cluster": "b"}, "found job and existing_cluster"),
        ({"serverless": {"client": "1"}, "spark_conf": {}}, "unknown settings spark_conf; known are existing_cluster"),
        ({"existing_cluster": "b", "wheels": "dbfs:/wheels"}, "DBFS"),
        ({"existing_cluster": "b", "poll_seconds": 0}, "poll_seconds must be a number above 0"),
        ({"job": "a", "tags": {"x": "y"}}, "belong to the job"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings: dict[str, Any], says: str) -> None:
    from feature_pipelines.databricks_compute import DatabricksCompute

    with pytest.raises(EnvironmentBroken, match=says):
        DatabricksCompute.parse({"kind": "databricks", **settings})
