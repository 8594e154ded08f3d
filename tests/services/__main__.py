"""Hold every system of the cluster environment up until Ctrl-C: `python -m tests.services [name ...]`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from feature_pipelines.embedded import machine
from tests.services.programs import write_private
from tests.services.stack import SERVICES, Started, stack


def main() -> int:
    """Start what is named, by default all; 2 when a name is unknown, 1 when a service could not be had."""
    names = sys.argv[1:] or list(SERVICES)
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; known: {', '.join(SERVICES)}\n")
        return 2
    services = {name: SERVICES[name] for name in names}
    os.environ.update(machine.program_environment(machine.java_home()))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="my-feast-services-", ignore_cleanup_errors=True) as folder:
        try:
            with console.status(f"Starting {', '.join(names)}"), stack(Path(folder), services) as started:
                return _hold(console, Path(folder), started)
        except KeyboardInterrupt:
            return 0


def _hold(console: Console, folder: Path, started: dict[str, Started]) -> int:
    secrets = write_private(folder / "credentials.txt", "\n".join(_secrets(one) for one in started.values()))
    console.print(addresses(started))
    console.print(f"Logs in {folder}/<name>/logs, passwords and keys in {secrets}. Ctrl-C stops everything.")
    console.file.flush()
    if all(one.service is None for one in started.values()):
        return 1
    while True:
        time.sleep(3600)


def addresses(started: dict[str, Started]) -> Table:
    """One row per service: name, what its clients connect to, seconds it took; or why it is missing."""
    table = Table(title="Services on loopback")
    for column in ("Service", "Address", "Started in"):
        table.add_column(column, overflow="fold")
    for one in started.values():
        said = one.reason if one.service is None else "\n".join(_addresses(one.service))
        table.add_row(one.name, said, "missing" if one.service is None else f"{one.seconds:.1f} s")
    return table


def _addresses(service: Any) -> list[str]:
    """What a service shows of itself: everything but secrets and processes."""
    shown = [part.name for part in fields(service) if part.repr]
    shown += [name for name in ("blob_url", "address", "workers") if hasattr(service, name)]
    return [f"{name} {getattr(service, name)}" for name in shown]


def _secrets(one: Started) -> str:
    if one.service is None:
        return ""
    hidden = [part.name for part in fields(one.service) if not part.repr and part.name != "programs"]
    hidden += [name for name in ("connection_string", "url") if hasattr(one.service, name)]
    return "".join(f"{one.name}.{name} = {getattr(one.service, name)}\n" for name in hidden)


if __name__ == "__main__":
    sys.exit(main())
