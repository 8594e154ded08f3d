"""Starts Redis and Airflow's four components on loopback and says when they are ready."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from feature_pipelines.embedded.airflow_api import AirflowApi
from feature_pipelines.embedded.machine import LOOPBACK, MachineError, redis_server
from feature_pipelines.embedded.metadata_engine import create_metadata_engine
from feature_pipelines.embedded.processes import Processes, tail
from feature_pipelines.embedded.settings import USER, Settings, write_private
from feature_pipelines.pools import pools

COMPONENTS = {
    "api-server": ("api-server", "--host", LOOPBACK, "--workers", "1"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
LOCAL_SETTINGS = f"""from {create_metadata_engine.__module__} import {create_metadata_engine.__name__}

__all__ = ["{create_metadata_engine.__name__}"]
"""
READY_SECONDS = 600
"""A bound for what hangs; what ends is told at once, and a busy small machine takes minutes to import Airflow four times."""
HEALTHY = {"metadatabase", "scheduler", "dag_processor", "triggerer"}


@contextlib.contextmanager
def running(settings: Settings, *, say: Callable[[str], None]) -> Iterator[tuple[AirflowApi, Processes]]:
    """Redis and Airflow, up and healthy, with every DAG unpaused; nothing is left of them at the end."""
    with Processes(settings.home / "logs") as processes:
        say(f"Redis on {LOOPBACK}:{settings.redis_port}")
        _start_redis(settings, processes)
        yield start_airflow(settings, processes, say=say), processes


def start_airflow(settings: Settings, processes: Processes, *, say: Callable[[str], None]) -> AirflowApi:
    """Airflow alone, on whatever the settings' variables say: its database made, its four components up and healthy."""
    say("Airflow's database")
    _prepare_database(settings)
    say(f"Airflow on {settings.url}: API server, scheduler, DAG processor, triggerer")
    for name, arguments in COMPONENTS.items():
        processes.start(name, [_program("airflow"), *arguments], environment=settings.variables())
    _import_pools(settings)
    api = AirflowApi(settings.url, user=USER, password=settings.password())
    _wait(lambda: _healthy(api), "Airflow", processes)
    _wait(lambda: _all_listed(api), "the DAGs", processes)
    for dag, paused in api.dags().items():
        if paused and dag in dag_names():
            api.unpause(dag)
    return api


def dag_names() -> set[str]:
    """The DAGs a run needs: one per source and per feature table, and the registry's."""
    from feature_pipelines.sources import sources
    from spark_jobs.features import feature_tables

    return {"feature_registry", *(f"land_{name}" for name in sources()), *feature_tables()}


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _start_redis(settings: Settings, processes: Processes) -> None:
    folder = settings.home / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": LOOPBACK,
        "port": str(settings.redis_port),
        "dir": str(folder),
        "save": "300 1",  # and once more when it is stopped, so that the data survives
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    command = [str(redis_server()), *(word for name, value in options.items() for word in (f"--{name}", value))]
    processes.start("redis", command, environment=dict(os.environ))
    _wait(lambda: _redis_answers(settings), "Redis", processes)


def _redis_answers(settings: Settings) -> bool:
    import redis

    with redis.Redis(host=LOOPBACK, port=settings.redis_port) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:  # not there yet, or still reading its file
            return False


def _prepare_database(settings: Settings) -> None:
    write_private(settings.airflow_home / "simple_auth_manager_passwords.json.generated", {USER: settings.password()})
    local = settings.airflow_home / "config" / "airflow_local_settings.py"
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_text(LOCAL_SETTINGS, encoding="utf-8")
    # Each start of Airflow's command line costs seconds: a database of this very release needs no migration.
    migrated, release = settings.airflow_home / "migrated_to", importlib.metadata.version("apache-airflow-core")
    if settings.database.exists() and migrated.exists() and migrated.read_text(encoding="utf-8") == release:
        return
    run_program(settings, [_program("airflow"), "db", "migrate"], log=settings.home / "logs" / "migrate.log")
    (settings.airflow_home / "pools.json").unlink(missing_ok=True)
    migrated.write_text(release, encoding="utf-8")


def _import_pools(settings: Settings) -> None:
    """Import the pools, unless the very same ones were imported already."""
    imported, wanted = settings.airflow_home / "pools.json", json.dumps(pools())
    if imported.exists() and imported.read_text(encoding="utf-8") == wanted:
        return
    file = imported.with_name("pools_to_import.json")
    file.write_text(wanted, encoding="utf-8")
    run_program(settings, [_program("airflow"), "pools", "import", str(file)], log=settings.home / "logs" / "pools.log")
    file.replace(imported)


def run_program(settings: Settings, command: list[str], *, log: Path) -> None:
    """Run to its end in the environment; MachineError with the tail of its log when it fails."""
    with log.open("wb") as out:
        code = subprocess.run(
            command, env=settings.variables(), stdout=out, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        raise MachineError(f"`{' '.join(command)}` ended with {code}. The end of {log}:\n{tail(log)}")


def _healthy(api: AirflowApi) -> bool:
    health = api.health()
    return all(health.get(part) == "healthy" for part in HEALTHY)


def _all_listed(api: AirflowApi) -> bool:
    for file, trace in api.import_errors().items():
        raise MachineError(f"{file} does not parse:\n{trace}")
    return set(api.dags()) >= dag_names()


def _wait(ready: Callable[[], bool], what: str, processes: Processes) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        processes.check()
        if time.monotonic() > deadline:
            raise MachineError(f"{what}: not ready after {READY_SECONDS} s; see {processes.log('*')}")
        time.sleep(0.2)
