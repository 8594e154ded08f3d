"""A cluster of one machine: runs a Python wheel task as Databricks does, in a process that has only the wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spark_jobs.submit import quick_conf

LAUNCHER = """
import importlib.metadata, json, sys
told = json.loads(sys.argv[1])
sys.path[:0] = told["wheels"]
from pyspark.sql import SparkSession
if told["serverless"]:
    from pyspark.errors import AnalysisException
    from pyspark.sql.connect.conf import RuntimeConf
    spark = SparkSession.builder.remote("local[2]").getOrCreate()
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    allowed = {"spark.sql.session.timeZone", "spark.sql.shuffle.partitions", "spark.sql.ansi.enabled"}
    setting = RuntimeConf.set
    def guarded(self, key, value):
        if key not in allowed:
            raise AnalysisException(errorClass="CONFIG_NOT_AVAILABLE", messageParameters={"config": key},
                                    message=f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available.")
        setting(self, key, value)
    RuntimeConf.set = guarded
else:
    builder = SparkSession.builder.master("local[2]")
    for name, value in told["conf"].items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
import spark_jobs
assert any(spark_jobs.__file__.startswith(wheel) for wheel in told["wheels"]), spark_jobs.__file__
sys.argv = ["wheel_task", *told["parameters"]]
points = importlib.metadata.distribution(told["package"]).entry_points
next(point for point in points if point.name == told["entry_point"]).load()()
assert spark.range(3).count() == 3, "the task stopped a session that is not its own"
"""


@dataclass
class Execution:
    """A task under way or ended; its output is in `log`."""

    process: subprocess.Popen[bytes]
    log: Path
    began: float

    def exit_code(self, timeout: float) -> int | None:
        """None while it runs; after `timeout` seconds it is killed."""
        if self.process.poll() is None and time.monotonic() - self.began > timeout:
            self.kill()
        return self.process.poll()

    def kill(self) -> None:
        """And waits for its end."""
        self.process.kill()
        self.process.wait()

    def error(self) -> tuple[str, str]:
        """The last exception, as get-output tells it: class and text, and the whole trace."""
        lines = self.log.read_text(errors="replace").splitlines()
        begin = max((n for n, line in enumerate(lines) if line.startswith("Traceback ")), default=0)
        trace = lines[begin:]
        raised = next((n for n, line in enumerate(trace) if n and not line.startswith(" ")), 0)
        text = "\n".join(trace[raised:])
        return text.split(".", maxsplit=2)[-1] if text.startswith("spark_jobs.") else text, "\n".join(trace)


def execute(
    folder: Path, task: Mapping[str, Any], wheels: list[Path], *, python: str = sys.executable, serverless: bool = False
) -> Execution:
    """Installs the wheels into a folder and calls the entry point with `--name=value` for each named parameter."""
    folder.mkdir(parents=True)
    installed = []
    for wheel in wheels:
        target = folder / wheel.stem
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
        installed.append(str(target))
    wheel_task = task["python_wheel_task"]
    told = {
        "wheels": installed,
        "package": wheel_task["package_name"],
        "entry_point": wheel_task["entry_point"],
        "parameters": [f"--{name}={value}" for name, value in wheel_task["named_parameters"].items()],
        "conf": quick_conf(),
        "serverless": serverless,
    }
    log = folder / "log"
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME", "TMPDIR") if name in os.environ}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, "-P", "-c", LAUNCHER, json.dumps(told)],
            cwd=folder,
            env=kept | {"PYSPARK_PYTHON": python},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return Execution(process, log, time.monotonic())


@dataclass
class Cluster:
    """Executes the tasks of a workspace's runs; `volumes` are folders by the path under which tasks see them."""

    folder: Path
    volumes: Mapping[str, Path]
    kill_next: bool = False
    executed: int = 0

    def execute(self, run: Any, task: Mapping[str, Any]) -> Execution:
        """As the run's task says: on a cluster with libraries, or serverless with dependencies."""
        self.executed += 1
        serverless = "environment_key" in task
        if serverless:
            wheels = run.environments[task["environment_key"]]["dependencies"]
        else:
            wheels = [library["whl"] for library in task["libraries"]]
        found = [self._local(wheel) for wheel in wheels]
        execution = execute(self.folder / str(self.executed), task, found, serverless=serverless)
        if self.kill_next:
            self.kill_next = False
            execution.kill()
        return execution

    def logs(self) -> str:
        """What all tasks have printed."""
        return "\n".join(log.read_text(errors="replace")[-3000:] for log in self.folder.glob("*/log"))

    def _local(self, address: str) -> Path:
        for volume, folder in self.volumes.items():
            if address.startswith(f"{volume}/"):
                return folder / address.removeprefix(f"{volume}/")
        return Path(address.removeprefix("file://"))
