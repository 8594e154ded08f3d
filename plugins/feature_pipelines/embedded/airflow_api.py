"""The few calls of Airflow's REST API that a launcher needs; standard library only."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

TRIES = 5
TIMEOUT_SECONDS = 60
PAGE = 100
"""The most that Airflow lists in one answer."""
RUNS_PER_CALL = 10
"""Runs whose tasks fit into one answer."""


class AirflowApiError(Exception):
    """Airflow refused a call; the text says which and why, `status` is the HTTP status, None when it did not answer."""

    def __init__(self, text: str, *, status: int | None) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Seen:
    """A run: queued, running, success or failed; its task instances, with dag_id, dag_run_id, task_id, state, try_number."""

    state: str
    tasks: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class AirflowApi:
    """One logged-in user of an Airflow API server."""

    url: str
    user: str
    password: str = field(repr=False)
    _token: str = field(default="", repr=False)

    def health(self) -> dict[str, str]:
        """Status per component; empty while the server does not answer."""
        try:
            answer = self._call("GET", "/api/v2/monitor/health")
        except AirflowApiError:
            return {}
        return {part: state.get("status") or "" for part, state in answer.items()}

    def dags(self) -> dict[str, bool]:
        """Every DAG that Airflow lists, and whether it is paused."""
        return {dag["dag_id"]: dag["is_paused"] for dag in self._get("/api/v2/dags?limit=200")["dags"]}

    def import_errors(self) -> dict[str, str]:
        """File and stack trace of every DAG file that does not parse."""
        found = self._get("/api/v2/importErrors?limit=50")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in found}

    def unpause(self, dag: str) -> None:
        """Let the scheduler start runs of a DAG."""
        self._authorized("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, run_id: str, *, conf: Mapping[str, Any]) -> None:
        """Start a run without a logical date; a run of that id that is there already is that run."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        try:
            self._authorized("POST", f"/api/v2/dags/{dag}/dagRuns", body)
        except AirflowApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise

    def tasks(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run, each with dag_id, dag_run_id, task_id, state, try_number, start_date."""
        return self.progress([run_id])[dag, run_id].tasks

    def progress(self, beginnings: Sequence[str]) -> dict[tuple[str, str], Seen]:
        """(DAG, run id) -> what is seen of the runs whose ids begin with one of these.

        Two calls for all of them: asked for one by one every second, they would keep the server busy.
        """
        found: dict[tuple[str, str], Seen] = {}
        for start in range(0, len(beginnings), RUNS_PER_CALL):
            ids = "|".join(beginnings[start : start + RUNS_PER_CALL])
            filters = f"limit={PAGE}&run_id_prefix_pattern={_quoted(ids)}"
            for run in self._get(f"/api/v2/dags/~/dagRuns?{filters}")["dag_runs"]:
                found[run["dag_id"], run["dag_run_id"]] = Seen(run["state"])
            for task in self._get(f"/api/v2/dags/~/dagRuns/~/taskInstances?{filters}")["task_instances"]:
                if run := found.get((task["dag_id"], task["dag_run_id"])):
                    run.tasks.append(task)
        return found

    def log(self, task: Mapping[str, Any], *, lines: int = 30) -> str:
        """The end of a task's log: messages and error texts."""
        path = f"/api/v2/dags/{task['dag_id']}/dagRuns/{_quoted(task['dag_run_id'])}/taskInstances/{task['task_id']}"
        answer = self._get(f"{path}/logs/{max(1, task['try_number'])}?map_index={task.get('map_index', -1)}")
        texts = [text for entry in answer["content"] for text in _log_texts(entry)]
        return "\n".join("\n".join(texts).splitlines()[-lines:])

    def _get(self, path: str) -> Any:
        return self._authorized("GET", path)

    def _authorized(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer; asked again, `TRIES` times in all, when there is none or it is a failure of the server's.

        Airflow writes an audit row before it serves a change. On SQLite that row can wait for the lock of a task that
        is just starting until the call fails with 500: asked again, it succeeds.
        """
        for attempt in range(1, TRIES):
            try:
                return self._answer(method, path, body)
            except AirflowApiError as error:
                if error.status is not None and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
            time.sleep(attempt)
        return self._answer(method, path, body)

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        if not self._token:
            login = {"username": self.user, "password": self.password}
            self._token = str(self._call("POST", "/auth/token", login)["access_token"])
        return self._call(method, path, body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with _DIRECT.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            raise AirflowApiError(f"{method} {path}: {error.code} {text[:500]}", status=error.code) from None
        except (OSError, HTTPException) as error:
            raise AirflowApiError(f"{method} {path}: {self.url} did not answer: {error}", status=None) from None


# the address is on this machine: no proxy that the environment may name
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _quoted(run_id: str) -> str:
    return urllib.parse.quote(run_id, safe="")


def _log_texts(entry: Any) -> list[str]:
    """What one line of Airflow's structured log says to a person."""
    if isinstance(entry, str):
        return [entry]
    details = entry.get("error_detail") or []
    return [str(entry.get("event", "")), *(f"{detail['exc_type']}: {detail['exc_value']}" for detail in details)]
