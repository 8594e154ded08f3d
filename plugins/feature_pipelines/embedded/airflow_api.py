"""The few calls of Airflow's REST API that a launcher needs; standard library only."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FINISHED = frozenset({"success", "failed"})
TIMEOUT_SECONDS = 60


class AirflowApiError(Exception):
    """Airflow refused a call; the text says which and why."""


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
        except (OSError, AirflowApiError):
            return {}
        return {part: state.get("status") or "" for part, state in answer.items()}

    def dags(self) -> list[str]:
        """Names of all DAGs Airflow lists; MachineError-worthy import errors are in import_errors."""
        return [dag["dag_id"] for dag in self._get("/api/v2/dags?limit=200")["dags"]]

    def import_errors(self) -> dict[str, str]:
        """File and stack trace of every DAG file that does not parse."""
        found = self._get("/api/v2/importErrors?limit=50")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in found}

    def unpause(self, dag: str) -> None:
        """Let the scheduler start runs of a DAG."""
        self._authorized("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        """Start a run without a logical date; the id of the run."""
        body = {"logical_date": None, "conf": dict(conf)}
        return str(self._authorized("POST", f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"])

    def run_state(self, dag: str, run: str) -> str:
        """One of queued, running, success, failed."""
        return str(self._get(f"/api/v2/dags/{dag}/dagRuns/{_quoted(run)}")["state"])

    def tasks(self, runs: Sequence[str]) -> list[dict[str, Any]]:
        """Task instances of some runs, each with dag_id, dag_run_id, task_id, state, try_number, duration."""
        body = {"dag_run_ids": list(runs), "page_limit": 1000}
        answer = self._authorized("POST", "/api/v2/dags/~/dagRuns/~/taskInstances/list", body)
        tasks: list[dict[str, Any]] = answer["task_instances"]
        return tasks

    def log(self, task: Mapping[str, Any], *, lines: int = 30) -> str:
        """The end of a task's log: messages and error texts."""
        path = f"/api/v2/dags/{task['dag_id']}/dagRuns/{_quoted(task['dag_run_id'])}/taskInstances/{task['task_id']}"
        answer = self._get(f"{path}/logs/{max(1, task['try_number'])}?map_index={task.get('map_index', -1)}")
        texts = [text for entry in answer["content"] for text in _log_texts(entry)]
        return "\n".join("\n".join(texts).splitlines()[-lines:])

    def _get(self, path: str) -> Any:
        return self._authorized("GET", path)

    def _authorized(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
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
            raise AirflowApiError(f"{method} {path}: {error.code} {text[:500]}") from None


# the address is on this machine: no proxy that the environment may name
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _quoted(run: str) -> str:
    return urllib.parse.quote(run, safe="")


def _log_texts(entry: Any) -> list[str]:
    """What one line of Airflow's structured log says to a person."""
    if isinstance(entry, str):
        return [entry]
    details = entry.get("error_detail") or []
    return [str(entry.get("event", "")), *(f"{detail['exc_type']}: {detail['exc_value']}" for detail in details)]
