"""One writer in a process of its own, that can kill itself (SIGKILL) before or after any step of a landing or publish.

Started as a program with one JSON argument: {"do": "land" | "publish", "uri", "options", ..., "kill": ["before" | "after", step]}.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

STEPS = {
    "land": ["_spool", "_upload", "replace_intervals"],
    "publish": ["staged_files", "_zero_row_files", "_refuse_stale", "replace_intervals"],
}
MODULES = {"land": "feast_lakehouse.tables", "publish": "feast_lakehouse.publish"}


def start(order: dict[str, Any]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-W", "error", __file__, json.dumps(order)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(step: Callable[..., Any], when: str) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            _die()
        result = step(*args, **kwargs)
        _die()
        return result

    return wrapped


def main(order: dict[str, Any]) -> None:
    from feast_lakehouse.delta import TableRef
    from feast_lakehouse.publish import publish
    from feast_lakehouse.tables import write_interval
    from tests.feast_lakehouse.lake_tables import SCHEMA, batches_of, rows_of

    if "kill" in order:
        when, step = order["kill"]
        module = importlib.import_module(MODULES[order["do"]])
        setattr(module, step, _deadly(getattr(module, step), when))
    ref = TableRef(order["uri"], order["options"])
    if order["do"] == "land":
        rows = rows_of(order["interval"], order["rows"])
        done = write_interval(ref, order["interval"], iter(batches_of(rows)), schema=SCHEMA).changed
    else:
        builds, rows = order["builds"], order["rows"]
        done = publish(ref, order["staged"], builds, schema=SCHEMA, rows=rows, current_builds=lambda: builds).changed
    sys.stdout.write(json.dumps({"changed": done}))


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main(json.loads(sys.argv[1]))
