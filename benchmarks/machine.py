"""On what a run was measured: the machine, the versions, the day, and how busy it already was."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from feature_pipelines.embedded import machine

PACKAGES = ("feast", "duckdb", "pyarrow", "deltalake", "redis", "pyspark")


def about() -> dict[str, object]:
    """Facts for docs/benchmarks.md. `load` is the average of the last minute."""
    versions = {"Python": platform.python_version(), "redis-server": _redis()}
    versions |= {name: version(name) for name in PACKAGES}
    facts = {"date": datetime.now(UTC).date().isoformat(), "machine": _machine(), "load": os.getloadavg()[0]}
    return {**facts, "versions": versions}


def _machine() -> str:
    model = re.search(r"model name\s*: (.+)", _text(Path("/proc/cpuinfo")))
    memory = re.search(r"MemTotal:\s*(\d+)", _text(Path("/proc/meminfo")))
    parts = [f"{os.cpu_count()} cores", model[1].strip() if model else platform.processor(), platform.machine()]
    return ", ".join([*parts, *([f"{int(memory[1]) / 1024**2:.0f} GB"] if memory else []), platform.system()])


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _redis() -> str:
    told = subprocess.run([str(machine.redis_server()), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\S+)", told)
    return found[1] if found else told.strip()
