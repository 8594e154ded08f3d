"""One `make run` for all end-to-end tests: its launcher, the API of its Airflow, and its lakes and Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from feature_pipelines import environment
from feature_pipelines.embedded import machine
from feature_pipelines.embedded.airflow_api import AirflowApi
from feature_pipelines.embedded.settings import USER, Settings
from feature_pipelines.environment import Environment
from tests.airflow_runs import Runs

FIRST_RUN_SECONDS = 1800
STOP_SECONDS = 120
READY = "Ctrl-C stops everything"


@dataclass
class Platform(Runs):
    """A running embedded environment that belongs to these tests."""

    settings: Settings
    launcher: subprocess.Popen[bytes]
    output: Path
    api: AirflowApi
    env: Environment

    def printed(self) -> str:
        """What the launcher has printed so far."""
        return self.output.read_text(encoding="utf-8")

    def check(self) -> None:
        """Raise, with what it has printed, when the launcher has ended."""
        assert self.launcher.poll() is None, self.printed()

    def airflow(self, *arguments: str) -> str:
        """Airflow's own command line; what it printed."""
        command = [str(Path(sys.executable).parent / "airflow"), *arguments]
        # it writes to the same SQLite file as the scheduler: let it wait for its turn longer than the usual 5 s
        database = f"sqlite:///{self.settings.airflow_home}/airflow.db?timeout=60"
        variables = {**self.settings.variables(), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`make run DAYS=2` in a temporary home, when it has done its days."""
    with running(tmp_path_factory.mktemp("home")) as platform:
        yield platform


@contextmanager
def running(home: Path, environment_name: str = "embedded") -> Iterator[Platform]:
    """`make run DAYS=2` in this home and environment, on free ports, when it has done its days; stopped as by Ctrl-C."""
    redis_port, java = machine.free_port(), machine.java_home()
    settings = Settings(home, machine.free_port(), redis_port=redis_port, java=java, name=environment_name)
    output = home / "launcher.txt"
    ports = ["--port", str(settings.port), "--redis-port", str(settings.redis_port)]
    command = [sys.executable, "-m", "feature_pipelines.embedded", "--home", str(home), "--days", "2", *ports]
    command += ["--environment", environment_name]
    with output.open("wb") as out:
        launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(launcher, output)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("MY_FEAST_ENVIRONMENT", "MY_FEAST_HOME", "MY_FEAST_REDIS"):
                patch.setenv(name, settings.own_variables()[name])
            api = AirflowApi(settings.url, user=USER, password=settings.password())
            yield Platform(settings, launcher, output, api, environment.load())
    finally:
        interrupt(launcher)


def interrupt(launcher: subprocess.Popen[bytes]) -> int:
    """Ctrl-C; its exit code."""
    if launcher.poll() is None:
        launcher.send_signal(signal.SIGINT)
    return launcher.wait(timeout=STOP_SECONDS)


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes that were started in the environment with this home."""
    marker, found = f"MY_FEAST_HOME={home}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile, or is not ours
            continue
    return found


def _wait_until_ready(launcher: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + FIRST_RUN_SECONDS
    while READY not in output.read_text(encoding="utf-8"):
        assert launcher.poll() is None, f"ended with {launcher.returncode}:{os.linesep}{output.read_text()}"
        assert time.monotonic() < deadline, f"not ready after {FIRST_RUN_SECONDS} s:{os.linesep}{output.read_text()}"
        time.sleep(0.5)
