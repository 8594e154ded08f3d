"""What an answer of Databricks means: done, broken for good, or worth another try. Every sentence names run and page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from feast_lakehouse.errors import DataError, LakehouseError, TransportError
from spark_jobs.refused import refusal

WAITING = frozenset({"PENDING", "QUEUED", "BLOCKED"})
ENDED = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})

_PERMANENT = {
    "USER_CANCELED": "Somebody cancelled it. Clear the task to go on with the same run.",
    "UNAUTHORIZED_ERROR": "Its identity lacks a permission: check the external location, the cluster policy and the volume.",
    "STORAGE_ACCESS_ERROR": "Its identity cannot reach the storage: check the external location of the lake.",
    "INVALID_CLUSTER_REQUEST": "The cluster's settings are refused: check compute of the environment's file.",
    "INVALID_RUN_CONFIGURATION": "The run's settings are refused: check compute of the environment's file.",
    "RESOURCE_NOT_FOUND": "Something it needs is not there: check the cluster's id and the wheel.",
    "LIBRARY_INSTALLATION_ERROR": "The wheel cannot be installed: check that its volume or location can be read.",
    "FEATURE_DISABLED": "The workspace lacks a feature it needs.",
    "BUDGET_POLICY_LIMIT_EXCEEDED": "The budget policy's limit is reached.",
    "DISABLED": "The job is disabled.",
}
"""Codes of `termination_details` after which the same run ends the same way, and what to do about each."""

_REFUSED_BY_OUR_CODE = re.compile(r"\b(OrderError|ContractError|BrokenPromises|PackageNotFoundError)\b")
_REFUSED_BY_STORAGE = re.compile(r"INSUFFICIENT_PERMISSIONS|UNAUTHORIZED_ACCESS|UnauthorizedAccessException")
_LOST = re.compile(r"\b[Rr]un \d+ does not exist")
_STATUS = re.compile(r"Status Code: (\d{3})")
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 400, 401, 403, 404
_BUSY = 429
_SERVER = 500


@dataclass(frozen=True)
class Subject:
    """What a message is about: the table, its run and the run's page, as far as they are known."""

    table: str
    run_id: int | None = None
    page: str = ""
    workspace: str = ""

    def __str__(self) -> str:
        """The head of every message."""
        if self.run_id is None:
            return f"{self.table}: no run is known yet for the order, {self.workspace}"
        return f"{self.table}: Databricks run {self.run_id}, {self.page or self.workspace}"


def has_ended(run: Mapping[str, Any]) -> bool:
    """Whether the run's life is over, well or not."""
    return str(run["state"]["life_cycle_state"]) in ENDED


def has_succeeded(run: Mapping[str, Any]) -> bool:
    """Whether it ended well; a run in which only some tasks did has not."""
    state = run["state"]
    return (state["life_cycle_state"], state.get("result_state")) == ("TERMINATED", "SUCCESS")


def is_ending(run: Mapping[str, Any]) -> bool:
    """Whether its end has begun; what comes of it, Databricks says afterwards."""
    return str(run["state"]["life_cycle_state"]) == "TERMINATING"


def newest_attempts(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One entry per task. Databricks lists those from before a repair or a retry of its own as well, in any order."""
    tasks = sorted(run.get("tasks", []), key=lambda task: (task.get("attempt_number", 0), task.get("start_time", 0)))
    return list({task["task_key"]: task for task in tasks}.values())


def is_waiting(run: Mapping[str, Any]) -> bool:
    """Whether no task of it has begun: it waits for a cluster or its turn. A run itself may count as RUNNING meanwhile."""
    tasks = [task["state"]["life_cycle_state"] for task in newest_attempts(run) if "state" in task]
    return all(state in WAITING for state in tasks or [run["state"]["life_cycle_state"]])


def ended_badly(subject: Subject, run: Mapping[str, Any], errors: Iterable[str]) -> LakehouseError:
    """The error for a run that ended without success; `errors` are those of its tasks."""
    state = run["state"]
    life, result = state["life_cycle_state"], state.get("result_state") or "no result"
    code = _code(run)
    said = "\n".join([*errors]) or state.get("state_message") or "Databricks gives no reason"
    head = f"{subject}: ended {life} with {result}{f' ({code})' if code else ''}"
    if code in _PERMANENT:
        return DataError(f"{head}. {_PERMANENT[code]}\n{said}")
    if result == "CANCELED" and not code:
        return DataError(f"{head}. {_PERMANENT['USER_CANCELED']}\n{said}")
    if _REFUSED_BY_OUR_CODE.search(said):
        advice = "Code, order or rows are broken, so another try gives the same answer. Nothing was published."
        return DataError(f"{head}. {advice}\n{said}")
    if _REFUSED_BY_STORAGE.search(said) or refusal(RuntimeError(said)):
        return DataError(f"{head}. {_PERMANENT['STORAGE_ACCESS_ERROR']} Nothing was published.\n{said}")
    return TransportError(f"{head}. Another try goes on with this run. Nothing was published.\n{said}")


def never_started(subject: Subject, run: Mapping[str, Any], minutes: float) -> LakehouseError:
    """The error for a run whose cluster did not come."""
    said = run["state"].get("state_message") or "Databricks gives no reason"
    return TransportError(f"{subject}: no cluster within {minutes:g} minutes, so it was cancelled. {said}")


def refuses_login(error: Exception) -> bool:
    """Whether Databricks answered that it does not know who asks, or that he may not; a token may just have expired."""
    return _status(error) in {_UNAUTHORIZED, _FORBIDDEN}


def is_lost(error: Exception) -> bool:
    """Whether Databricks answered that it knows no such run; it says so with 404 or, as often, with 400."""
    return _status(error) == _NOT_FOUND or (_status(error) == _BAD_REQUEST and bool(_LOST.search(str(error))))


def unanswered(subject: Subject, error: Exception) -> LakehouseError:
    """The error for a call that Databricks refused or did not answer; what a retry finds is the same run."""
    status, said = _status(error), str(error)
    if subject.run_id is not None and is_lost(error):
        return TransportError(f"{subject}: the run is lost. The next try asks for the order's run again.\n{said}")
    if refuses_login(error):
        advice = "Databricks refuses the login or lacks a permission: check the connection databricks_default, its"
        return DataError(f"{subject}: {advice} service principal and what it may do. ({status})\n{said}")
    if status is not None and _BAD_REQUEST <= status < _SERVER and status != _BUSY:
        advice = (
            "Where the order's run was deleted or cannot be repaired, only a DAG run with `force` gives it another."
        )
        return DataError(f"{subject}: Databricks refuses the request ({status}). {advice}\n{said}")
    return TransportError(f"{subject}: Databricks did not answer; the next try finds the order's run.\n{said}")


def _code(run: Mapping[str, Any]) -> str:
    details = (run.get("status") or {}).get("termination_details") or {}
    return str(details.get("code") or "")


def _status(error: Exception) -> int | None:
    told = getattr(error, "http_status_code", None)
    if isinstance(told, int):
        return told
    found = _STATUS.search(str(error))  # an error of the login has it in its text only
    return int(found[1]) if found else None
