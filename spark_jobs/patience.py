"""An application that a cluster leaves without executors fails after a while; Spark itself would wait for ever."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession

EXECUTOR_PATIENCE = "spark.myFeast.executorPatience"
"""How long an application on a cluster may be without any executor: 90s, 10m or 1h. No watch is kept without it."""

EXIT_NO_EXECUTOR = 1
TICK_SECONDS = 2.0
_UNITS = {"s": 1, "m": 60, "h": 3600}


def keep_watch(spark: SparkSession) -> None:
    """From now on this process ends with exit code 1 when the cluster gives it no executor for longer than its patience.

    Raises ValueError for a patience that is no duration.
    """
    context = spark.sparkContext
    told = context.getConf().get(EXECUTOR_PATIENCE)
    if told is None:
        return
    scala: Any = context._jsc.sc()  # noqa: SLF001 - Python has no other way to its executors

    def executors() -> int:
        # one block manager is the driver's
        return int(scala.getExecutorMemoryStatus().size()) - 1

    arguments = (executors, patience_seconds(told), context.master)
    threading.Thread(target=_watch, args=arguments, name="executor-watch", daemon=True).start()


def patience_seconds(text: str) -> float:
    """90s, 10m or 1h in seconds."""
    match = re.fullmatch(r"(\d+)([smh])", text)
    if not match:
        raise ValueError(f"{EXECUTOR_PATIENCE}: expected a duration such as 90s, 10m or 1h, got {text!r}")
    return int(match[1]) * _UNITS[match[2]]


def _watch(executors: Callable[[], int], patience: float, master: str) -> None:
    seen = time.monotonic()
    while time.monotonic() - seen < patience:
        time.sleep(min(TICK_SECONDS, patience))
        try:
            if executors():
                seen = time.monotonic()
        except Exception:  # noqa: BLE001 - the session is being stopped, or its Java is gone: the main thread knows
            return
    sys.stderr.write(
        f"{master}: no executor for {patience:g} s. Are workers alive, and have they free cores and the memory an executor "
        "asks for? See the master's page. Nothing was published; trying again is safe.\n"
    )
    sys.stderr.flush()
    os._exit(EXIT_NO_EXECUTOR)  # the main thread waits inside Java and cannot be told
