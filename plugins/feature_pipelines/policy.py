"""How every task behaves: owner, retries by the class of the error, and how long it may take."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryRule
from airflow.sdk.definitions.retry_policy import RetryAction

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.environment import EnvironmentBroken
from feature_pipelines.streams.log import NotOver
from feature_pipelines.window import WindowError
from spark_jobs.contract import ContractError
from spark_jobs.order import OrderError

PLATFORM = "feature-platform"
"""Owner of what no table owner answers for: landing and the registry."""

RETRIES = 3
NOT_OVER_DELAY = timedelta(minutes=20)
"""Between looks whether a stream's day is over: its next reading may be an hour away."""
SPARK_RETRIES = 2
PATIENCE = timedelta(hours=2)
"""How long `wait` waits for raw intervals."""

STEP_TIMEOUT = timedelta(minutes=30)
SPARK_TIMEOUT = timedelta(hours=2)
RUN_TIMEOUT = timedelta(hours=12)
"""Ends a run that cannot go on; longer than every step with its retries."""


def retry_policy() -> ExceptionRetryPolicy:
    """Broken data, definitions and requests fail at once; anything else may be retried, `retries` times at most."""
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=[DataError, ContractError, OrderError, EnvironmentBroken, WindowError],
                action=RetryAction.FAIL,
                reason="Data, definition or request is broken: a retry gives the same answer",
            ),
            RetryRule(
                exception=NotOver,
                action=RetryAction.RETRY,
                retry_delay=NOT_OVER_DELAY,
                reason="The day is not over in the stream: later records will tell",
            ),
            RetryRule(
                exception=TransportError,
                action=RetryAction.RETRY,
                reason="Storage or Redis did not answer: a retry can help",
            ),
        ]
    )


def default_args(owner: str) -> dict[str, Any]:
    """What every task of a DAG has unless it says otherwise."""
    return {
        "owner": owner,
        "retries": RETRIES,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=5),
        "retry_policy": retry_policy(),
        "execution_timeout": STEP_TIMEOUT,
    }
