"""The whole cluster environment, running: its services, its Airflow, and what to ask of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from feature_pipelines.embedded.airflow_api import AirflowApi
from feature_pipelines.embedded.progress import Run
from feature_pipelines.embedded.run import days_conf, run_days, trigger, wait_for
from feature_pipelines.environment import Environment
from spark_jobs.features import feature_tables
from spark_jobs.interval import Interval
from tests import oracle
from tests.cluster.readings import readings
from tests.cluster.settings import ClusterSettings, Systems
from tests.cluster.steps import STEPS
from tests.end_to_end.answers import stock_store, store_differences, table_differences
from tests.end_to_end.conftest import midnight, silent
from tests.services.programs import Programs, wait_until

RUN_SECONDS = 1200
WEATHER_TABLE = "airport_weather_hourly"
Row = dict[str, Any]


@dataclass
class Cluster:
    """One cluster that belongs to these tests."""

    home: Path
    systems: Systems
    settings: ClusterSettings
    airflow: Programs
    api: AirflowApi
    env: Environment

    def process_groups(self) -> list[int]:
        """Of Airflow's components and of all services."""
        parts = [getattr(self.systems, part.name).programs for part in fields(self.systems)]
        return [group for programs in [self.airflow, *parts] for group in programs.groups()]

    def my_feast(self, *arguments: str) -> str:
        """The command line, in this environment; what it printed."""
        command = [str(Path(sys.executable).parent / "my-feast"), *arguments]
        done = subprocess.run(command, env=self.settings.variables(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_days(self, start: str, end: str) -> list[Run]:
        """Land the days, then compute, publish, materialize and verify every table."""
        window = Interval.parse(midnight(start), midnight(end))
        return run_days(self.api, window, progress=silent(), check=self._deadline())

    def start(self, dag: str, start: str, end: str, **params: object) -> Run:
        """Start a run of a DAG over these days."""
        window = Interval.parse(midnight(start), midnight(end))
        return trigger(self.api, dag, label=dag, conf={**days_conf(window), **params})

    def finish(self, *runs: Run) -> None:
        """Wait until all have succeeded; RunFailedError with the log of the first that has not."""
        wait_for(self.api, runs, progress=silent(), check=self._deadline(), shown=[])

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
            self.airflow.check()
            assert time.monotonic() < end, f"not done after {RUN_SECONDS} s"

        return check

    def compare(self, days: list[str], folder: Path, *, landed: list[str] | None = None) -> None:
        """The published tables and stock Feast's online reads of all tables are what the oracle says."""
        told, found, rows, keys = readings(self.systems.kafka), [], 0, 0
        login = f",username={self.systems.redis.user},password={self.systems.redis.password}"
        stock = stock_store(self.env, folder, login=login)
        with STEPS.step("  compare with the oracle") as step:
            for table in feature_tables():
                is_stream = table == WEATHER_TABLE
                wanted = (
                    oracle.weather_features(told, days)
                    if is_stream
                    else oracle.rows(table, days, landed=landed or days)
                )
                newest = {tuple(row[key] for key in oracle.KEYS[table]): row for row in wanted}
                assert wanted, table
                found += table_differences(self.env, table, wanted) + store_differences(self.env, table, newest, stock)
                rows, keys = rows + len(wanted), keys + len(newest)
            step.outcome = f"{len(found)} mismatches in {rows:,} rows and {keys:,} keys"
            assert found == []
