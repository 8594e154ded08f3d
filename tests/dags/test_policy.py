from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction

from feast_lakehouse.errors import DataError, LostClaim, OnlineMismatch, StaleInputs, TableMissing, TransportError
from feature_pipelines.environment import EnvironmentBroken
from feature_pipelines.policy import default_args, retry_policy
from feature_pipelines.pools import pools
from feature_pipelines.streams.log import NotOver
from feature_pipelines.waiting import NotLanded
from feature_pipelines.window import WindowError
from spark_jobs.contract import ContractError
from spark_jobs.features import feature_tables
from spark_jobs.order import OrderError


@pytest.mark.parametrize(
    "error",
    [
        DataError,
        StaleInputs,
        TableMissing,
        OnlineMismatch,
        NotLanded,
        ContractError,
        OrderError,
        EnvironmentBroken,
        WindowError,
    ],
)
def test_what_a_retry_cannot_mend_fails_at_once(error: type[Exception]) -> None:
    decision = retry_policy().evaluate(error("broken"), 1, 3)
    assert decision.action is RetryAction.FAIL
    assert "retry gives the same answer" in str(decision.reason)


@pytest.mark.parametrize("error", [TransportError, LostClaim])
def test_what_may_pass_is_retried(error: type[Exception]) -> None:
    assert retry_policy().evaluate(error("no answer"), 1, 3).action is RetryAction.RETRY


def test_a_day_of_a_stream_that_is_not_over_is_given_an_hour() -> None:
    decision = retry_policy().evaluate(NotOver("no record from its end"), 1, 3)
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay
    assert decision.retry_delay * default_args("somebody")["retries"] == timedelta(hours=1)


def test_what_nobody_foresaw_follows_the_tasks_own_retries() -> None:
    assert retry_policy().evaluate(RuntimeError("?"), 1, 3).action is RetryAction.DEFAULT


def test_retries_are_bounded_in_number_and_delay() -> None:
    arguments = default_args("somebody")
    assert arguments["retries"] == 3
    assert arguments["retry_delay"] < arguments["max_retry_delay"]


def test_pools_are_printed_as_airflow_imports_them() -> None:
    command = [sys.executable, "-m", "feature_pipelines.pools"]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert printed == pools()
    assert set(printed) == {"spark", *(f"online_{name}" for name in feature_tables())}
    assert all(set(pool) == {"slots", "description", "include_deferred"} for pool in printed.values())
