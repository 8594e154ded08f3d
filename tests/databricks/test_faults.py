"""The fault table: whatever Databricks answers, one order has one run, no failure passes for a success, and who reads the
error knows the run, its page and who has to act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from feast_lakehouse.errors import DataError, TransportError
from tests.databricks.faults import FOR_EVER, WELL, Ending, Fault, ended, failed
from tests.databricks.scene import Outcome, Scene
from tests.databricks.workspace import Workspace

# The provider's own ways of finding its version and of logging in.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated"),
    pytest.mark.filterwarnings("ignore:.*will be removed in (aiohttp 4|v4):DeprecationWarning"),
]

BOTH = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "not deferred"])

CLUSTER_LOST = ended(
    "INTERNAL_ERROR", "FAILED", "CLUSTER_ERROR", "Could not launch cluster: quota", kind="CLOUD_FAILURE"
)
SKIPPED = ended("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", "MAX_CONCURRENT_RUNS_EXCEEDED", "Too many runs at a time")
TIMED_OUT = ended("TERMINATED", "TIMEDOUT", "CANCELED", "Run timed out after 6000 seconds")
CANCELLED = ended("TERMINATED", "CANCELED", "USER_CANCELED", "Run cancelled by ana@example.com.")
BAD_CLUSTER = ended("INTERNAL_ERROR", "FAILED", "INVALID_CLUSTER_REQUEST", "Node type Standard_X is not supported.")
NO_PERMISSION = ended("INTERNAL_ERROR", "FAILED", "UNAUTHORIZED_ERROR", "No READ FILES on the external location.")
NO_WHEEL = ended("INTERNAL_ERROR", "FAILED", "LIBRARY_INSTALLATION_ERROR", "Library installation failed: not found")
EXECUTOR_LOST = failed("SparkException: Job aborted due to stage failure: executor 3 exited")
NO_FILES = failed(
    "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User does not have READ FILES on External Location"
)
OTHER_VERSION = failed(
    "OrderError: order 1: airport_weather_hourly has definition aaaa on this worker, the order wants bbbb"
)
BROKEN = failed("BrokenPromises: airport_weather_hourly 2013-01-01 to 2013-01-02: 1 promise broken", works="breaks")
HALF = Ending(result="SUCCESS_WITH_FAILURES", code="SUCCESS_WITH_FAILURES", works="nothing")


def throttled(call: str) -> Fault:
    return Fault(call, 429, "Too many requests", "REQUEST_LIMIT_EXCEEDED", {"Retry-After": "1"})


@dataclass(frozen=True)
class Row:
    """A fault, and what must come of it. `tries` are Airflow's, `attempts` are executions within the one run."""

    name: str
    faults: Callable[[], list[Fault]] = list
    endings: tuple[Ending, ...] = (WELL,)
    error: type[Exception] | None = None
    says: str = ""
    tries: int = 1
    tries_deferred: int | None = None
    attempts: int = 1
    runs: int = 1
    gives_up: bool = False
    """Whether the triggerer does, which only the worker's own look at the run makes good."""


TABLE = [
    Row("nothing"),
    # ------------------------------------------------------------------ answers that are not the answer
    Row("submit: 429 with Retry-After", lambda: [throttled("submit")]),
    Row("submit: 500", lambda: [Fault("submit", 500)]),
    Row("submit: 503", lambda: [Fault("submit", 503)]),
    Row("submit: accepted, answer lost", lambda: [Fault("submit", drop=True)]),
    Row("submit: accepted, every answer of the try lost", lambda: [Fault("submit", drop=True, times=2)], tries=2),
    Row("submit: 500 for ever", lambda: [Fault("submit", times=FOR_EVER)], error=TransportError, tries=3, runs=0),
    Row("submit: 403", lambda: [Fault("submit", 403, "No permission to use cluster policy", "PERMISSION_DENIED")],
        error=DataError, says="lacks a permission", runs=0),
    Row("submit: 400", lambda: [Fault("submit", 400, "Unknown node type", "INVALID_PARAMETER_VALUE")],
        error=DataError, says="Unknown node type", runs=0),
    Row("login: 500", lambda: [Fault("token", 500)]),
    Row("login: wrong secret", lambda: [Fault("token", 401, "Client authentication failed", "invalid_client", times=9)],
        error=DataError, says="databricks_default", runs=0),
    Row("get: 429 with Retry-After", lambda: [Fault("get", 429, headers={"Retry-After": "1"}, skip=2)]),
    Row("get: 500", lambda: [Fault("get", 500, skip=3)]),
    Row("get: answer lost", lambda: [Fault("get", drop=True, skip=2)]),
    Row("get: 503 for a while", lambda: [Fault("get", 503, skip=3, times=2)],
        tries=2, tries_deferred=1, gives_up=True),
    Row("get: 500 at the first look", lambda: [Fault("get", 500, times=2)], tries=2),
    Row("token expired in mid-run: 401", lambda: [Fault("get", 401, "Token expired", "UNAUTHENTICATED", skip=2, revoke=True)],
        gives_up=True),
    Row("token expired in mid-run: 403", lambda: [Fault("get", 403, "Invalid access token.", "403", skip=2, revoke=True)],
        gives_up=True),
    Row("get: permission taken away", lambda: [Fault("get", 403, "No permission", "PERMISSION_DENIED", skip=2, times=9)],
        error=DataError, says="lacks a permission", gives_up=True),
    Row("get-output: 500", lambda: [Fault("get-output", 500)], endings=(EXECUTOR_LOST, WELL), tries=2, attempts=2),
    # ----------------------------------------------------------------------- runs that do not end well
    Row("FAILED by Spark, once", endings=(EXECUTOR_LOST, WELL), tries=2, attempts=2),
    Row("FAILED by Spark, always", endings=(EXECUTOR_LOST,), error=TransportError, says="executor 3", tries=3, attempts=3),
    Row("FAILED: broken data", endings=(BROKEN,), error=DataError, says="found 400.0 in 1 row"),
    Row("FAILED: a wheel of another version", endings=(OTHER_VERSION,), error=DataError, says="the order wants bbbb"),
    Row("FAILED: no permission on the lake", endings=(NO_FILES,), error=DataError, says="external location of the lake"),
    Row("CANCELED by a person", endings=(CANCELLED,), error=DataError, says="ana@example.com"),
    Row("CANCELED by a person while the triggerer gives up",
        lambda: [Fault("get", 401, "Token expired", "UNAUTHENTICATED", skip=3, revoke=True)],
        endings=(replace(CANCELLED, terminating=5),), error=DataError, says="ana@example.com", gives_up=True),
    Row("SKIPPED", endings=(SKIPPED, WELL), tries=2, attempts=2),
    Row("INTERNAL_ERROR: no cluster", endings=(CLUSTER_LOST, WELL), tries=2, attempts=2),
    Row("TIMEDOUT", endings=(TIMED_OUT, WELL), tries=2, attempts=2),
    Row("INTERNAL_ERROR: refused cluster", endings=(BAD_CLUSTER,), error=DataError, says="Standard_X"),
    Row("INTERNAL_ERROR: no permission", endings=(NO_PERMISSION,), error=DataError, says="READ FILES"),
    Row("INTERNAL_ERROR: no wheel", endings=(NO_WHEEL,), error=DataError, says="wheel cannot be installed"),
    Row("SUCCESS without work", endings=(Ending(works="nothing"),), error=DataError, says="expected a report"),
    Row("SUCCESS of some tasks", endings=(HALF, WELL), tries=2, attempts=2),
    Row("repair: answer lost", lambda: [Fault("repair", drop=True)], endings=(CLUSTER_LOST, WELL), tries=2, attempts=2),
    Row("repair: refused", lambda: [Fault("repair", 400, "Cannot repair a one-time run", "INVALID_STATE", times=9)],
        endings=(CLUSTER_LOST,), error=DataError, says="Cannot repair a one-time run", tries=2),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("placed", ["a run of its own", "a job's run"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_fault(row: Row, placed: str, scene: Scene, *, deferrable: bool) -> None:
    workspace = scene.workspace
    faults = row.faults()
    if placed == "a job's run":
        as_job(scene)
        for fault in faults:
            fault.call = "run-now" if fault.call == "submit" else fault.call
    workspace.faults, workspace.runs_as = faults, [list(row.endings)]
    outcome = scene.run(deferrable=deferrable)

    assert (workspace.started, len(workspace.runs)) == (row.runs, row.runs), outcome.errors
    assert [len(run.attempts) for run in workspace.runs.values()] == [row.attempts] * row.runs
    assert outcome.tries == (row.tries_deferred if deferrable and row.tries_deferred else row.tries), outcome.errors
    assert bool(outcome.gave_up) == (row.gives_up and deferrable), outcome.gave_up
    if row.error is None:
        assert outcome.result == scene.order(), outcome.errors
    else:
        assert type(outcome.error) is row.error, outcome.errors
        assert row.says in str(outcome.error)
    for error in outcome.errors:
        assert_names_the_run(error, scene, row.runs)


def assert_names_the_run(error: BaseException, scene: Scene, runs: int) -> None:
    text = str(error)
    assert scene.workspace.client_secret not in text
    assert text.startswith("airport_weather_hourly: "), text
    known = [run for run in scene.workspace.runs.values() if f"Databricks run {run.run_id}, {run.page}" in text]
    if not known:
        # The answer with the run's number, or the first one with its page, never came: no one can know it yet.
        numbers = [f"Databricks run {run_id}, {scene.workspace.address}" for run_id in scene.workspace.runs]
        unknown = f"no run is known yet for the order, {scene.workspace.address}"
        assert any(head in text for head in [*numbers, unknown]), text


def as_job(scene: Scene) -> None:
    task = {
        "python_wheel_task": {"package_name": "my_feast_spark_jobs", "entry_point": "compute"},
        "task_key": "compute",
    }
    scene.workspace.add_job("my_feast_compute", task)
    scene.compute(job="my_feast_compute")


@BOTH
def test_a_cluster_that_never_starts_is_given_up_and_the_same_run_goes_on_later(
    scene: Scene, *, deferrable: bool
) -> None:
    scene.compute(start_minutes=0.01)
    scene.workspace.runs_as = [[Ending(waiting=FOR_EVER, lag=2, terminating=3), WELL]]
    outcome = scene.run(deferrable=deferrable)
    assert outcome.result, outcome.errors
    assert results(scene) == ["CANCELED", "SUCCESS"]
    (error,) = outcome.errors
    assert isinstance(error, TransportError)
    assert "no cluster within 0.01 minutes" in str(error)
    assert_names_the_run(error, scene, 1)


@BOTH
def test_a_cluster_that_never_starts_for_the_repairs_either_is_given_up_as_often_as_there_are_tries(
    scene: Scene, *, deferrable: bool
) -> None:
    # 300 looks of 10 ms at least outlast every patience of 0.6 s; were it lost, they would end.
    scene.compute(start_minutes=0.01)
    scene.workspace.runs_as = [[Ending(waiting=300)]]
    outcome = scene.run(deferrable=deferrable)
    assert results(scene) == ["CANCELED"] * 3
    assert [type(error) for error in outcome.errors] == [TransportError] * 3
    assert all("no cluster within 0.01 minutes" in str(error) for error in outcome.errors)


@BOTH
def test_a_cancel_is_ours_even_if_who_asked_for_it_is_cut_off_then(scene: Scene, *, deferrable: bool) -> None:
    scene.compute(start_minutes=0.01)
    scene.workspace.runs_as = [[Ending(waiting=FOR_EVER, terminating=3), WELL]]
    cut_off_after_cancel(scene.workspace)
    outcome = scene.run(deferrable=deferrable)
    assert outcome.result, outcome.errors
    assert results(scene) == ["CANCELED", "SUCCESS"]
    (error,) = outcome.errors
    assert isinstance(error, TransportError)


def cut_off_after_cancel(workspace: Workspace) -> None:
    """The try that has cancelled learns nothing any more."""
    cancel = workspace.cancel

    def cancelling(run_id: int) -> dict[str, Any]:
        workspace.faults = [Fault("get", 503, times=2)]
        return cancel(run_id)

    workspace.cancel = cancelling  # type: ignore[method-assign]


def results(scene: Scene) -> list[str]:
    """Of all attempts of the one run, from the first on."""
    (run,) = scene.workspace.runs.values()
    return [attempt["state"]["result_state"] for attempt in run.attempts]


def test_what_an_older_attempt_ended_with_is_no_verdict_on_the_newest(scene: Scene) -> None:
    scene.workspace.runs_as = [[OTHER_VERSION, EXECUTOR_LOST, WELL]]
    assert "the order wants bbbb" in str(scene.run(deferrable=True).error)
    cleared = scene.run(deferrable=True)
    assert cleared.result, cleared.errors
    (error,) = cleared.errors
    assert isinstance(error, TransportError)
    assert "executor 3" in str(error)
    assert "the order wants bbbb" not in str(error)


def test_a_repair_does_not_repeat_what_a_later_attempt_has_done_well(scene: Scene) -> None:
    get, repair, repaired = scene.workspace.get, scene.workspace.repair, []

    def with_another_task(run_id: int, *, history: bool = False) -> dict[str, Any]:
        answer = get(run_id, history=history)
        ended = {name: Ending(result=name).state for name in ("SUCCESS", "FAILED")}
        answer["tasks"] += [
            {"task_key": "prepare", "run_id": 9002, "attempt_number": 1, "state": ended["SUCCESS"]},
            {"task_key": "prepare", "run_id": 9001, "attempt_number": 0, "state": ended["FAILED"]},
        ]
        return answer

    def noting(body: dict[str, Any]) -> dict[str, Any]:
        repaired.append(body["rerun_tasks"])
        return repair(body)

    scene.workspace.get = with_another_task  # type: ignore[method-assign]
    scene.workspace.repair = noting  # type: ignore[method-assign,assignment]
    scene.workspace.runs_as = [[EXECUTOR_LOST, WELL]]
    assert scene.run(deferrable=True).result
    assert repaired == [["compute"]]


def test_a_long_run_outlives_the_patience_for_its_cluster(scene: Scene) -> None:
    scene.compute(start_minutes=0.01, poll_seconds=0.05)
    scene.workspace.runs_as = [[Ending(running=40)]]
    outcome = scene.run(deferrable=True)
    assert outcome.result
    assert outcome.deferred > 1
    assert all("TRIGGER_TIMEOUT" in why for why in outcome.gave_up)
    assert outcome.errors == []


def lose_first_run(workspace: Workspace, *, remembers_token: bool) -> None:
    """At the third look at it."""
    get = workspace.get

    def losing(run_id: int, *, history: bool = False) -> dict[str, Any]:
        if workspace.started == 1 and run_id in workspace.runs and workspace.runs[run_id].looks == 2:
            workspace.lose(run_id, remembers_token=remembers_token)
        return get(run_id, history=history)

    workspace.get = losing  # type: ignore[method-assign]


@BOTH
def test_a_lost_run_is_asked_for_again(scene: Scene, *, deferrable: bool) -> None:
    lose_first_run(scene.workspace, remembers_token=False)
    scene.workspace.runs_as = [[Ending(waiting=5)], [Ending(waiting=0)]]
    outcome = scene.run(deferrable=deferrable)
    assert outcome.result, outcome.errors
    assert outcome.tries == 2
    assert (scene.workspace.started, len(scene.workspace.runs)) == (2, 1)  # the first is nowhere any more
    assert "Databricks run" in str(outcome.errors[0])
    assert "the run is lost" in str(outcome.errors[0])


@BOTH
def test_a_deleted_run_stays_deleted_until_force(scene: Scene, *, deferrable: bool) -> None:
    lose_first_run(scene.workspace, remembers_token=True)
    scene.workspace.runs_as = [[Ending(waiting=5)], [Ending(waiting=0)]]
    outcome = scene.run(deferrable=deferrable)
    assert isinstance(outcome.error, DataError)
    assert "only a DAG run with `force`" in str(outcome.error)
    assert scene.workspace.started == 1
    scene.force = True
    forced: Outcome = scene.run(deferrable=deferrable)
    assert forced.result, forced.errors
    assert scene.workspace.started == 2
