"""The whole cluster environment, running: its services, its Airflow, and what to ask of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from feature_pipelines.embedded.airflow_api import AirflowApi
from feature_pipelines.environment import Environment
from tests.airflow_runs import Runs
from tests.cluster.comparison import compare
from tests.cluster.readings import readings
from tests.cluster.settings import ClusterSettings, Systems
from tests.cluster.steps import STEPS
from tests.services.programs import Programs


@dataclass
class Cluster(Runs):
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

    def check(self) -> None:
        """Raise when one of Airflow's components has ended."""
        self.airflow.check()

    def compare(self, days: list[str], folder: Path, *, landed: list[str] | None = None) -> None:
        """The published tables and stock Feast's online reads of all tables are what the oracle says."""
        told, redis = readings(self.systems.kafka.settings()), self.systems.redis
        with STEPS.step("  compare with the oracle") as step:
            compared = compare(self.env, told, days, folder, user=redis.user, password=redis.password, landed=landed)
            step.outcome = str(compared)
            assert compared.found == []
