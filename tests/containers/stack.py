"""The containers of docker-compose.yaml under a project name, ports and secrets of their own, brought up with docker/up.py."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from feature_pipelines.embedded.airflow_api import AirflowApi
from feature_pipelines.embedded.services import dag_names
from tests.airflow_runs import Runs
from tests.cluster.steps import STEPS
from tests.containers.engine import CHECKOUT, DockerFailed, described, docker
from tests.services.programs import LOOPBACK, free_ports, wait_until
from tests.services.spark_cluster import SparkMaster
from tests.services.stack import Started

TASKS = "airflow-scheduler"
UP_SECONDS = 3600  # the first time, images are built
READY_SECONDS = 300
LABEL = "label=com.docker.compose.project="


@dataclass
class Stack(Runs):
    """One stack that belongs to these tests; `variables` are what tells it from a user's."""

    project: str
    variables: dict[str, str]
    spark: SparkMaster
    api: AirflowApi = field(init=False)

    def up(self) -> None:
        """As `make up`; then every DAG is unpaused."""
        command = [sys.executable, str(CHECKOUT / "docker" / "up.py")]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False, timeout=UP_SECONDS
        )
        if done.returncode:
            states = self.compose("ps", "--all", "--format", "table {{.Service}}\t{{.Status}}")
            raise DockerFailed(f"docker/up.py ended with {done.returncode}:\n{done.stderr[-6000:]}\n{states}")
        assert "Everything is healthy" in done.stdout
        values = json.loads((Path(self.variables["MY_FEAST_SECRETS"]) / "values.json").read_text())
        url = f"http://{LOOPBACK}:{self.variables['MY_FEAST_AIRFLOW_PORT']}"
        self.api = AirflowApi(url, user="admin", password=values["admin_password"])
        wait_until(lambda: set(self.api.dags()) >= dag_names(), what="the DAGs", seconds=READY_SECONDS)
        for dag in dag_names():
            self.api.unpause(dag)

    def compose(self, *arguments: str) -> str:
        """`docker compose` in this project; what it printed on standard output. DockerFailed when it fails."""
        command = ["docker", "compose", *arguments]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False, cwd=CHECKOUT
        )
        if done.returncode:
            said = f"{done.stdout[-6000:]}{done.stderr[-6000:]}"
            raise DockerFailed(f"`{' '.join(command)}` ended with {done.returncode}:\n{said}")
        return done.stdout

    def my_feast(self, *arguments: str) -> str:
        """The command line, where tasks run; what it printed."""
        return self.compose("exec", "-T", TASKS, "my-feast", *arguments)

    def compare(self, *days: str) -> None:
        """The published tables and stock Feast's online reads of all tables are what the oracle says."""
        mount = f"{CHECKOUT / 'tests'}:/opt/my-feast/tests:ro"
        once = ["run", "--rm", "--no-deps", "-T", "--volume", mount, TASKS]
        with STEPS.step("  compare with the oracle, inside the networks") as step:
            printed = self.compose(*once, "python", "-m", "tests.containers.compare", *days)
            step.outcome = printed.splitlines()[-1]
            assert step.outcome.startswith("0 mismatches in ")

    def kill(self, service: str) -> None:
        """As a crash: SIGKILL, and Docker does not start it again."""
        self.compose("kill", service)

    def again(self, service: str) -> None:
        """Start a killed one over its volume; returns when it is healthy."""
        seconds = str(READY_SECONDS)
        self.compose("up", "--detach", "--no-deps", "--no-recreate", "--wait", "--wait-timeout", seconds, service)

    def cores_used(self, service: str) -> int:
        """Cores that executors hold on a worker, by what the master says."""
        addresses = self._container(service, "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}").split()
        workers = self.spark.state().get("workers", [])
        return sum(each["coresused"] for each in workers if each["host"] in addresses and each["state"] == "ALIVE")

    def services(self) -> dict[str, Started]:
        """What runs, for the table of services: each with its image."""
        found = {}
        for name in sorted(self.compose("ps", "--services").split()):
            image = described(self._container(name, "{{.Config.Image}}"))
            found[f"container {name}"] = Started(name, self, seconds=0.0, kind=f"container {image}")
        return found

    def down(self) -> list[str]:
        """Stop everything and remove its data; what is left of it."""
        self.compose("down", "--volumes", "--timeout", "10")
        own = ["--quiet", "--filter", f"{LABEL}{self.project}"]
        kinds = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
        return [f"{kind[0]} {each}" for kind in kinds for each in docker(*kind, *own).split()]

    def _container(self, service: str, template: str) -> str:
        identity = self.compose("ps", "--all", "--quiet", service).strip()
        return docker("inspect", "--format", template, identity).strip()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}


def new_stack(folder: Path) -> Stack:
    """With a name that no other stack has, free ports, and secrets below the folder; not up yet."""
    project = f"my-feast-test-{secrets.token_hex(4)}"
    airflow, spark, hdfs = free_ports(3)
    variables = {
        "COMPOSE_PROJECT_NAME": project,
        "MY_FEAST_SECRETS": str(folder / "secrets"),
        "MY_FEAST_AIRFLOW_PORT": str(airflow),
        "MY_FEAST_SPARK_PORT": str(spark),
        "MY_FEAST_HDFS_PORT": str(hdfs),
    }
    return Stack(project, variables, SparkMaster(f"http://{LOOPBACK}:{spark}"))
