"""An application without executors: how long it waits, and that it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pyspark.sql import SparkSession

from spark_jobs.patience import keep_watch, patience_seconds

WATCHED = """
import sys, time
from spark_jobs import patience

counts = [1, 1, *[int(sys.argv[1])] * 1000]
patience.TICK_SECONDS = 0.1
patience._watch(lambda: counts.pop(0), 0.5, "spark://h:1")
"""


def test_durations() -> None:
    assert [patience_seconds(text) for text in ("90s", "10m", "1h")] == [90, 600, 3600]
    for wrong in ("", "10", "1.5m", "10 m", "-1s"):
        with pytest.raises(ValueError, match="expected a duration such as 90s"):
            patience_seconds(wrong)


def watched(executors: int, seconds: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WATCHED, str(executors)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)


def test_a_process_that_is_left_without_executors_ends_and_says_why() -> None:
    done = watched(0, 300)
    assert done.returncode == 1
    assert "spark://h:1: no executor for 0.5 s" in done.stderr


def test_a_process_with_executors_goes_on() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        watched(1, 15)


def test_one_machine_is_not_watched(spark: SparkSession) -> None:
    import threading

    keep_watch(spark)
    assert "executor-watch" not in {thread.name for thread in threading.enumerate()}
