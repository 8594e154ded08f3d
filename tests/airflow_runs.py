"""Runs of the DAGs in an Airflow that belongs to a test: `make run`'s, or a cluster's in processes or containers."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

from rich.console import Console

from feature_pipelines.embedded.airflow_api import AirflowApi
from feature_pipelines.embedded.progress import Progress, Run
from feature_pipelines.embedded.run import days_conf, run_days, trigger, wait_for
from spark_jobs.interval import Interval
from tests.services.programs import wait_until

RUN_SECONDS = 1200
"""For what hangs, not for what is slow: a busy machine with two cores takes several times as long as an idle one."""


class Runs:
    """What an Airflow is asked through its REST API; a subclass has the API and says what must be alive."""

    api: AirflowApi

    def check(self) -> None:
        """Raise when something that must run does not; asked about once a second while runs are waited for."""

    def run_days(self, start: str, end: str) -> list[Run]:
        """Land the days, then compute, publish, materialize and verify every table."""
        return run_days(self.api, _window(start, end), progress=_silent(), check=self._deadline())

    def start(self, dag: str, start: str, end: str, **params: object) -> Run:
        """Start a run of a DAG over these days."""
        return trigger(self.api, dag, label=dag, conf={**days_conf(_window(start, end)), **params})

    def finish(self, *runs: Run) -> None:
        """Wait until all have succeeded; RunFailedError with the log of the first that has not."""
        wait_for(self.api, list(runs), progress=_silent(), check=self._deadline(), shown=[])

    def state(self, run: Run, task: str) -> str | None:
        """The state of a task of a run; None while it has none."""
        found: dict[str, str | None] = {each["task_id"]: each["state"] for each in self.api.tasks(run.dag, run.run_id)}
        return found.get(task)

    def wait_for_state(self, run: Run, task: str, *states: str) -> None:
        """Until a task is in one of these states."""
        wait_until(lambda: self.state(run, task) in states, what=f"{run.dag}.{task} {states}", seconds=RUN_SECONDS)

    def _deadline(self) -> Callable[[], None]:
        end = time.monotonic() + RUN_SECONDS

        def check() -> None:
            self.check()
            assert time.monotonic() < end, f"not done after {RUN_SECONDS} s"

        return check


def _window(start: str, end: str) -> Interval:
    return Interval.parse(f"{start}T00:00:00+00:00", f"{end}T00:00:00+00:00")


def _silent() -> Progress:
    return Progress(Console(file=io.StringIO()))
