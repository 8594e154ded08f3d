"""A Spark standalone cluster: one master and its workers, each a process that can be killed, cut off and started again."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feature_pipelines.embedded import machine
from tests.services import downloads
from tests.services.programs import LOOPBACK, Programs, free_ports

MASTER = "master"
WORKER_TIMEOUT = 15
EXECUTOR = "CoarseGrainedExecutorBackend"
DAEMON = f"-Dspark.worker.timeout={WORKER_TIMEOUT} -Dspark.master.rest.enabled=false -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class SparkMaster:
    """What a master tells at its page, http://host:port."""

    ui: str

    def alive_workers(self) -> int:
        """How many the master believes in; -1 when it does not answer."""
        return int(self.state().get("aliveworkers", -1))

    def applications(self) -> list[str]:
        """Names of the applications that run now."""
        return [application["name"] for application in self.state().get("activeapps", [])]

    def state(self) -> dict[str, Any]:
        """What the master says of itself: workers, activeapps, completedapps; empty when it does not answer."""
        try:
            with _DIRECT.open(f"{self.ui}/json/", timeout=5) as answer:
                said: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return {}
        return said


@dataclass
class SparkCluster(SparkMaster):
    """A running cluster. A worker that is cut off is given up after 15 s, one that is killed at once."""

    master: str
    names: list[str]
    programs: Programs = field(repr=False)

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers, in the order of `names` ("worker1", ...)."""
        return [self.programs.pid(name) for name in self.names]

    def executors(self, worker: str | None = None) -> list[int]:
        """Process ids of the executors, of one worker or of all that run."""
        names = [worker] if worker else [name for name in self.names if self.programs.alive(name)]
        children = [child for name in names for child in self.programs.children(name).items()]
        return [pid for pid, command in children if EXECUTOR in command]

    def kill_worker(self, worker: str) -> None:
        """As a crash; its executors end by themselves."""
        self.programs.kill(worker)

    def start_worker(self, worker: str) -> None:
        """Start a killed one again; returns when the master lists as many as there are."""
        self.programs.again(worker)
        self.programs.wait_until(lambda: self.alive_workers() == len(self.names), what="Spark")

    def cut_off(self, worker: str) -> None:
        """As a broken network: the worker and its executors stand still, with all their connections open."""
        os.killpg(self.programs.pid(worker), signal.SIGSTOP)

    def reconnect(self, worker: str) -> None:
        """Let a worker that was cut off go on."""
        os.killpg(self.programs.pid(worker), signal.SIGCONT)

    def kill_master(self) -> None:
        """As a crash."""
        self.programs.kill(MASTER)

    def start_master(self) -> None:
        """Start it again; returns when its workers have come back (they ask every few seconds)."""
        self.programs.again(MASTER)
        self.programs.wait_until(lambda: self.alive_workers() == len(self.names), what="Spark")


@contextlib.contextmanager
def spark_cluster(
    folder: Path,
    workers: int = 2,
    *,
    cores: int = 1,
    memory: str = "1g",
    variables: Mapping[str, str] | None = None,
) -> Iterator[SparkCluster]:
    """A master and workers of so many cores and so much memory each, from the pyspark package; executors inherit `variables`."""
    try:
        all_variables = _variables(folder) | dict(variables or {})
    except machine.MachineError as error:
        raise downloads.Unavailable(str(error)) from error
    port, ui = free_ports(2)
    names = [f"worker{number}" for number in range(1, workers + 1)]
    spark_class = str(_spark_home() / "bin" / "spark-class")
    with Programs(folder) as programs:
        own = ["--host", LOOPBACK, "--port", str(port), "--webui-port", str(ui)]
        command = [spark_class, "org.apache.spark.deploy.master.Master", *own]
        programs.start(MASTER, command, environment=all_variables)
        cluster = SparkCluster(f"http://{LOOPBACK}:{ui}", f"spark://{LOOPBACK}:{port}", names, programs)
        programs.wait_until(lambda: cluster.alive_workers() == 0, what="Spark master")
        for name in names:
            own = ["--host", LOOPBACK, "--webui-port", "0", "--cores", str(cores), "--memory", memory]
            own += ["--work-dir", str(folder / "work" / name), cluster.master]
            command = [spark_class, "org.apache.spark.deploy.worker.Worker", *own]
            programs.start(name, command, environment=all_variables)
        programs.wait_until(lambda: cluster.alive_workers() == workers, what="Spark workers")
        yield cluster


def _variables(folder: Path) -> dict[str, str]:
    conf = folder / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **machine.program_environment(machine.java_home()),
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOG_DIR": str(folder / "logs"),
        "SPARK_DAEMON_MEMORY": "192m",
        "SPARK_DAEMON_JAVA_OPTS": DAEMON,
        "SPARK_LOCAL_DIRS": str(folder / "scratch"),
        "SPARK_NO_DAEMONIZE": "1",
    }


def _spark_home() -> Path:
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise downloads.Unavailable("pyspark is not installed: run `make setup`")
    return Path(spec.origin).parent
