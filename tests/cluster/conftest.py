"""One cluster for all tests of a file: every system as a real process, and Airflow's four components on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from feature_pipelines import environment
from feature_pipelines.embedded import machine
from feature_pipelines.embedded.services import start_airflow
from tests.cluster.canary import CommandLines
from tests.cluster.cluster import Cluster
from tests.cluster.settings import HADOOP_USER, ClusterSettings, Systems, spark_with_secrets
from tests.cluster.steps import STEPS
from tests.services.programs import Programs, has_process
from tests.services.stack import SERVICES, stack


@pytest.fixture(scope="module")
def command_lines() -> Iterator[CommandLines]:
    """Reads command lines from before the first service starts."""
    with CommandLines() as lines:
        yield lines


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, command_lines: CommandLines) -> Iterator[Cluster]:
    """Everything up and healthy, every DAG listed and unpaused; nothing is left of it at the end."""
    running, groups = ExitStack(), list[int]()
    try:
        made = _up(running, tmp_path_factory.mktemp("cluster"), command_lines)
        yield made
        groups = made.process_groups()
    finally:
        with STEPS.step("bring it down") as step:
            running.close()
            left = [group for group in groups if has_process(group)]
            step.outcome = f"{len(left)} of {len(groups)} process groups left"
            assert left == []


def _up(running: ExitStack, home: Path, command_lines: CommandLines) -> Cluster:
    with STEPS.step("start the services"):
        systems = _start(running, home)
        command_lines.secrets = systems.secrets()
        systems.prepare()
    port, java = machine.free_port(), machine.java_home()
    settings = ClusterSettings(home, port, redis_port=systems.redis.port, java=java, systems=systems.variables())
    patch = running.enter_context(pytest.MonkeyPatch.context())
    patch.setattr(environment, "_hadoop_users", {})
    patch.setenv("HADOOP_USER_NAME", HADOOP_USER)  # and afterwards it is again what it was
    for name, value in settings.own_variables().items():
        if name.startswith(("MY_FEAST_", "AIRFLOW_CONN_")):
            patch.setenv(name, value)
    with STEPS.step("start Airflow"):
        airflow = running.enter_context(Programs(home))
        api = start_airflow(settings, airflow, say=lambda _: None)
    return Cluster(home, systems, settings, airflow, api, environment.load())


def _start(running: ExitStack, home: Path) -> Systems:
    """Spark last: its workers are started with the secret of the storage account."""
    others = {name: start for name, start in SERVICES.items() if name != "spark"}
    started = dict(running.enter_context(stack(home, others)))
    STEPS.started(started)
    missing = [f"{one.name}: {one.reason}" for one in started.values() if one.service is None]
    if not missing:
        spark = {"spark": spark_with_secrets(started["azurite"].service)}
        started |= running.enter_context(stack(home, spark))
        STEPS.started(started)
        missing = [f"{one.name}: {one.reason}" for one in started.values() if one.service is None]
    if missing:
        pytest.skip(f"not available: {'; '.join(missing)}")
    return Systems(**{name: one.service for name, one in started.items()})
