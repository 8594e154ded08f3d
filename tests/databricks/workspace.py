"""A Databricks workspace in this process: what its Jobs API knows about runs, jobs, idempotency tokens and logins."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.databricks.faults import ENDED_BY_CANCEL, FOR_EVER, WELL, Ending, Fault
from tests.databricks.wheel_runner import Execution

TOKEN_LIMIT = 64
ACTIVE = frozenset({"PENDING", "RUNNING", "TERMINATING"})
CLUSTERS = ("existing_cluster_id", "new_cluster", "environment_key")


class Refused(Exception):
    """An answer with an error: status, error_code and message of the API."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})


@dataclass
class Run:
    """One run, from its acceptance on; `attempt` counts repairs. `end` is what this one comes to, once that is settled."""

    run_id: int
    job_id: int
    page: str
    name: str
    kind: str
    tasks: list[dict[str, Any]]
    timeout: int
    environments: dict[str, Mapping[str, Any]]
    endings: list[Ending]
    attempts: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    looks_at_end: int = 0
    end: Ending | None = None
    cancelled: bool = False
    execution: Execution | None = None

    @property
    def attempt(self) -> int:
        """0 for the first."""
        return len(self.attempts) - 1

    @property
    def is_active(self) -> bool:
        """Whether its life goes on, be it towards its end."""
        return self.attempts[-1]["state"]["life_cycle_state"] in ACTIVE

    @property
    def ending(self) -> Ending:
        """Of this attempt; the last one told is that of all that follow."""
        return self.endings[min(self.attempt, len(self.endings) - 1)]


@dataclass
class Workspace:
    """State of the server. `runs_as` are the endings of the next runs; `work` does what a sound run leaves on the lake."""

    client_id: str = "0d1c2b3a-service-principal"
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    address: str = ""
    runs_as: list[list[Ending]] = field(default_factory=list)
    work: Callable[[str, Ending], None] = lambda *_: None
    execute: Callable[[Run, dict[str, Any]], Execution] | None = None
    faults: list[Fault] = field(default_factory=list)
    runs: dict[int, Run] = field(default_factory=dict)
    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    logins: set[str] = field(default_factory=set)
    calls: list[tuple[str, int]] = field(default_factory=list)
    started: int = 0
    """How many runs were ever accepted, whatever became of them."""

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self._numbers = itertools.count(101)

    # ------------------------------------------------------------------------------------- what tests do to it

    def add_job(self, name: str, task: dict[str, Any]) -> int:
        """A job as the bundle deploys it: one task, one parameter `order`."""
        number = next(self._numbers)
        self.jobs[number] = {"name": name, "task": task}
        return number

    def lose(self, run_id: int, *, remembers_token: bool) -> None:
        """The run is gone: purged together with its token, or deleted while its token is remembered."""
        del self.runs[run_id]
        if not remembers_token:
            self.tokens = {token: run for token, run in self.tokens.items() if run != run_id}

    def count(self, call: str) -> int:
        """How many calls of a kind came in."""
        return sum(name == call for name, _ in self.calls)

    # ----------------------------------------------------------------------------------------------- the API

    def login(self) -> dict[str, Any]:
        """A token of the service principal."""
        token = f"dapi-{secrets.token_hex(16)}"
        self.logins.add(token)
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": "all-apis"}

    def submit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """runs/submit."""
        return self._once(body, lambda: self._submitted(body))

    def run_now(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """run-now."""
        number = int(body.get("job_id", 0))
        if number not in self.jobs:
            raise Refused(400, "INVALID_PARAMETER_VALUE", f"Job {number} does not exist.")
        unknown = set(body.get("job_parameters", {})) - {"order"}
        if unknown:
            raise Refused(400, "INVALID_PARAMETER_VALUE", f"Job parameters are not defined in the job: {unknown}")
        return self._once(body, lambda: self._run_of_job(number, body["job_parameters"]["order"]))

    def list_jobs(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """jobs/list."""
        found = [
            {"job_id": number, "settings": {"name": job["name"]}}
            for number, job in self.jobs.items()
            if query.get("name") in {None, job["name"]}
        ]
        return {"jobs": found} if found else {}

    def get(self, run_id: int, *, history: bool = False) -> dict[str, Any]:
        """runs/get: every look moves a run on that is not really executed."""
        run = self._run(run_id)
        if run.is_active:
            self._move_on(run)
        return self._described(run, history=history)

    def output(self, task_run_id: int) -> dict[str, Any]:
        """runs/get-output, which is there for a task's run only."""
        if task_run_id in self.runs:
            raise Refused(
                400, "INVALID_PARAMETER_VALUE", "Retrieving the output of runs with multiple tasks is not supported."
            )
        for run in self.runs.values():
            for attempt in run.attempts:
                if attempt["run_id"] == task_run_id:
                    told = {name: attempt[name] for name in ("error", "error_trace") if attempt.get(name)}
                    return {"metadata": {"run_id": task_run_id, "state": attempt["state"]}, **told}
        raise Refused(400, "INVALID_PARAMETER_VALUE", f"Run {task_run_id} does not exist.")

    def cancel(self, run_id: int) -> dict[str, Any]:
        """runs/cancel, which is answered before it is carried out."""
        run = self._run(run_id)
        if run.is_active and run.end is None:
            run.cancelled = True
            if run.execution is not None:
                run.execution.kill()
            run.end = replace(ENDED_BY_CANCEL, terminating=run.ending.terminating, lag=run.ending.lag)
        return {}

    def repair(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """runs/repair: another attempt of the same run."""
        run = self._run(int(body["run_id"]))
        if run.is_active:
            raise Refused(400, "INVALID_STATE", f"Run {run.run_id} is in progress.")
        if run.attempt and int(body.get("latest_repair_id", 0)) != run.attempts[-1]["repair_id"]:
            raise Refused(400, "INVALID_PARAMETER_VALUE", "The latest repair ID needs to be provided.")
        if not body.get("rerun_tasks") and not body.get("rerun_all_failed_tasks"):
            raise Refused(400, "INVALID_PARAMETER_VALUE", "No tasks to repair.")
        keys = body.get("rerun_tasks", [])
        if len(set(keys)) < len(keys):
            raise Refused(400, "INVALID_PARAMETER_VALUE", "rerun_tasks cannot contain duplicate task keys.")
        if run.kind == "JOB_RUN":
            # What is not told again is the job's default: https://github.com/apache/airflow/issues/64828
            order = body.get("job_parameters", {}).get("order", "")
            run.tasks[0]["python_wheel_task"]["named_parameters"] = {"order": order}
        self._begin(run)
        return {"repair_id": run.attempts[-1]["repair_id"]}

    # ------------------------------------------------------------------------------------------------ inside

    def _once(self, body: Mapping[str, Any], accept: Callable[[], Run]) -> dict[str, Any]:
        token = body.get("idempotency_token")
        if token is not None and len(token) > TOKEN_LIMIT:
            raise Refused(400, "INVALID_PARAMETER_VALUE", f"idempotency_token has more than {TOKEN_LIMIT} characters.")
        with self.lock:
            if token in self.tokens:
                if self.tokens[token] not in self.runs:
                    raise Refused(400, "INVALID_PARAMETER_VALUE", "The run with this idempotency token was deleted.")
                return {"run_id": self.tokens[token]}
            run = accept()
            if token is not None:
                self.tokens[token] = run.run_id
            return {"run_id": run.run_id}

    def _submitted(self, body: Mapping[str, Any]) -> Run:
        for task in body.get("tasks", []):
            if sum(name in task for name in CLUSTERS) != 1:
                raise Refused(400, "INVALID_PARAMETER_VALUE", f"Task {task['task_key']}: exactly one of {CLUSTERS}.")
        if not body.get("tasks"):
            raise Refused(400, "INVALID_PARAMETER_VALUE", "At least one task must be specified.")
        environments = {each["environment_key"]: each["spec"] for each in body.get("environments", [])}
        return self._accept(
            0, body["run_name"], list(body["tasks"]), timeout=int(body["timeout_seconds"]), environments=environments
        )

    def _run_of_job(self, number: int, order_uri: str) -> Run:
        job = self.jobs[number]
        wheel_task = {**job["task"]["python_wheel_task"], "named_parameters": {"order": order_uri}}
        return self._accept(
            number, job["name"], [{**job["task"], "python_wheel_task": wheel_task}], timeout=0, environments={}
        )

    def _accept(
        self, job_id: int, name: str, tasks: list[dict[str, Any]], *, timeout: int, environments: dict[str, Any]
    ) -> Run:
        number, kind = next(self._numbers), "JOB_RUN" if job_id else "SUBMIT_RUN"
        job_id = job_id or next(self._numbers)
        page = f"{self.address}/?o=0#job/{job_id}/run/{number}"
        endings = self.runs_as.pop(0) if self.runs_as else [WELL]
        run = Run(number, job_id, page, name, kind, tasks, timeout, environments, endings)
        self.runs[number] = run
        self.started += 1
        self._begin(run)
        return run

    def _begin(self, run: Run) -> None:
        run.looks, run.looks_at_end, run.end, run.cancelled, run.execution = 0, 0, None, False, None
        attempt = {"run_id": next(self._numbers), "repair_id": next(self._numbers), "attempt_number": len(run.attempts)}
        run.attempts.append(
            attempt | {"state": {"life_cycle_state": "PENDING", "state_message": "Waiting for cluster"}}
        )

    def _move_on(self, run: Run) -> None:
        if run.end is None:
            self._work_on(run)
        if run.end is not None:
            self._wind_up(run, run.end)

    def _work_on(self, run: Run) -> None:
        ending, attempt = run.ending, run.attempts[-1]
        run.looks += 1
        if run.looks <= ending.waiting:
            return
        attempt["state"] = {"life_cycle_state": "RUNNING", "state_message": "In run"}
        if ending.works == "really":
            self._really(run)
        elif run.looks > ending.waiting + ending.running:
            self.work(run.tasks[0]["python_wheel_task"]["named_parameters"]["order"], ending)
            run.end = ending

    def _really(self, run: Run) -> None:
        if self.execute is None:
            raise AssertionError("this workspace executes nothing")
        if run.execution is None:
            run.execution = self.execute(run, run.tasks[0])
        if (code := run.execution.exit_code(run.timeout or FOR_EVER)) is None:
            return
        if code == 0:
            run.end = WELL
            return
        error, trace = run.execution.error()
        run.attempts[-1]["error_trace"] = trace
        message = "Workload failed, see run output for details."
        run.end = Ending(result="FAILED", code="RUN_EXECUTION_ERROR", kind="CLIENT_ERROR", message=message, error=error)

    def _wind_up(self, run: Run, end: Ending) -> None:
        run.looks_at_end += 1
        if run.looks_at_end > end.lag + end.terminating:
            self._end(run, end)
        elif run.looks_at_end > end.lag:
            run.attempts[-1]["state"] = {"life_cycle_state": "TERMINATING", "state_message": end.message}

    def _end(self, run: Run, ending: Ending) -> None:
        run.attempts[-1] |= {"state": ending.state, "status": ending.termination, "error": ending.error}

    def _run(self, run_id: int) -> Run:
        if run_id not in self.runs:
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"Run {run_id} does not exist.")
        return self.runs[run_id]

    def _described(self, run: Run, *, history: bool) -> dict[str, Any]:
        key = run.tasks[0]["task_key"]
        names = ("run_id", "attempt_number", "state")
        # The newest one first: Databricks promises no order.
        tasks = [{"task_key": key, **{name: attempt[name] for name in names}} for attempt in reversed(run.attempts)]
        last = run.attempts[-1]
        answer = {
            "run_id": run.run_id,
            "job_id": run.job_id,
            "run_name": run.name,
            "run_type": run.kind,
            "run_page_url": run.page,
            "state": last["state"],
            "status": last.get("status", {"state": last["state"]["life_cycle_state"]}),
            "tasks": tasks,
        }
        if history:
            repairs = [
                {"type": "REPAIR", "id": attempt["repair_id"], "task_run_ids": [attempt["run_id"]]}
                for attempt in run.attempts[1:]
            ]
            answer["repair_history"] = [{"type": "ORIGINAL", "task_run_ids": [run.attempts[0]["run_id"]]}, *repairs]
        return answer
