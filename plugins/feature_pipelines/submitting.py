"""Running an order's Spark application from the command line, as the DAGs' operator would."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.connections import ConnectionMissing, connection
from feature_pipelines.embedded import machine
from feature_pipelines.environment import child_variables
from feature_pipelines.spark_settings import SPARK_CONNECTION, refused, spark_settings
from spark_jobs.refused import EXIT_REFUSED
from spark_jobs.submit import APPLICATION, package_zip

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_pipelines.environment import Environment
    from feature_pipelines.spark_storage import Reach

DATA_ERROR = 3
"""The application's exit code for broken data or a broken definition."""

TICK_SECONDS = 5.0
TAIL_LINES = 15
_JAVA_STACK = re.compile(r"\s+(at |\.\.\. \d+ more)")
_NOISE = re.compile(
    r"$|\s+at |\d\d/\d\d/\d\d \d\d:|WARNING: |Using |Setting |Spark application |Calling System.exit|"
    r"(Caused by: )?[\w.]+(Exception|Error): "
)


def run_order(env: Environment, order_uri: str, *, progress: Callable[[float], None]) -> float:
    """Runs the order to its end and returns the seconds it took; calls `progress` with them every few seconds.

    The application's output goes to `<home>/logs/`. Raises DataError when the application found broken data or a
    broken definition, or when storage refused it, with what it said; TransportError, with the end of the log, when Spark
    itself failed.
    """
    program = machine.program_environment(machine.java_home())
    settings = _settings(env, order_uri)
    submit = shutil.which("spark-submit", path=program["PATH"])
    if submit is None:
        raise machine.MachineError("spark-submit: not on PATH; it comes with pyspark. Run `make setup`.")
    log = env.home / "logs" / f"compute-{Path(order_uri).stem}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spark-jobs-") as folder, log.open("w", encoding="utf-8") as output:
        package = package_zip(Path(folder) / "spark_jobs.zip")
        command = [
            submit,
            "--master",
            env.spark_master,
            "--name",
            f"my_feast.{_table_of(order_uri)}",
            *(part for name, value in settings.conf.items() for part in ("--conf", f"{name}={value}")),
            "--py-files",
            str(package),
            str(APPLICATION),
            order_uri,
        ]
        variables = child_variables({**program, **settings.variables})
        code = _wait(command, variables, output.fileno(), started=started, progress=progress)
    if code == DATA_ERROR:
        raise DataError(_said(log))
    if code == EXIT_REFUSED:
        raise refused(_table_of(order_uri), _said(log))
    if code:
        raise TransportError(f"Spark ended with code {code}. The end of {log}:\n{_tail(log)}")
    return time.monotonic() - started


def _settings(env: Environment, order_uri: str) -> Reach:
    """As a DAG's: the field `conf` of the Spark connection counts here too, when there is such a connection."""
    try:
        told = connection(SPARK_CONNECTION).extra.get("conf") or {}
    except ConnectionMissing:
        told = {}
    table = _table_of(order_uri)
    return spark_settings(env, table, env.spark_master, told=told, told_by=f"{env.yaml}, connection {SPARK_CONNECTION}")


def _table_of(order_uri: str) -> str:
    """An order lies in <table>/_orders/."""
    return order_uri.rsplit("/", 3)[-3]


def _wait(
    command: list[str], variables: dict[str, str], output: int, *, started: float, progress: Callable[[float], None]
) -> int:
    with subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT) as process:  # noqa: S603
        try:
            while True:
                try:
                    return process.wait(TICK_SECONDS)
                except subprocess.TimeoutExpired:
                    progress(time.monotonic() - started)
        finally:
            process.terminate()


def _said(log: Path) -> str:
    """What the application itself said last: the last lines that are neither Spark's log nor a Java stack."""
    lines = reversed(log.read_text(encoding="utf-8", errors="replace").splitlines())
    told = takewhile(lambda line: not _NOISE.match(line), dropwhile(_NOISE.match, lines))
    return "\n".join(reversed(list(told))) or _tail(log)


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([line for line in lines if not _JAVA_STACK.match(line)][-TAIL_LINES:])
