"""Databricks' hook with one more courtesy: a server that says when to come back is asked again then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.databricks.hooks.databricks import DatabricksHook
from tenacity import stop_after_attempt, wait_exponential

if TYPE_CHECKING:
    from tenacity import RetryCallState

LONGEST_PAUSE = 60.0
"""Seconds. Who shall wait longer is better off with Airflow's own retry."""


def patient_hook(connection: str, *, attempts: int, delay: float, caller: str) -> DatabricksHook:
    """A hook that makes so many attempts at a call that was throttled, failed on the server or got no answer.

    Between them it waits as long as Retry-After says, else `delay` seconds, doubled each time.
    """
    doubling = wait_exponential(multiplier=delay, min=delay, max=LONGEST_PAUSE)

    def pause(state: RetryCallState) -> float:
        told = _retry_after(state)
        return doubling(state) if told is None else min(told, LONGEST_PAUSE)

    waits = {"stop": stop_after_attempt(attempts), "wait": pause}
    return DatabricksHook(connection, retry_limit=attempts, retry_args=waits, caller=caller)


def _retry_after(state: RetryCallState) -> float | None:
    """Of the answer that made the attempt fail, in seconds; a date, which Databricks does not send, is passed over."""
    error = state.outcome.exception() if state.outcome else None
    told = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
    return float(told) if told.isdecimal() else None
