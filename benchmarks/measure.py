"""Running a contender in a process of its own, so that its CPU seconds and peak memory are its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Cost:
    """What a contender's timed part took: wall and CPU seconds (its process, not Redis), and its peak memory in MB."""

    wall: float
    cpu: float
    peak_mb: float
    rows: int

    @property
    def rows_per_second(self) -> float:
        """Rows over wall time."""
        return self.rows / self.wall


@dataclass(frozen=True)
class Line:
    """One comparison: rows/s of ours and of a peer; `limit` is the least ratio that is good enough (0: none stated)."""

    name: str
    ours: float
    peer: float
    limit: float

    @property
    def ratio(self) -> float:
        """How many times the peer ours is."""
        return self.ours / self.peer

    def to_json(self) -> str:
        """One line for machines."""
        return json.dumps({**asdict(self), "ratio": round(self.ratio, 3)})


def run(module: str, *arguments: str) -> Cost:
    """Run `python -m module arguments…`; it prints its Cost as the last line. Raises RuntimeError with its output."""
    environment = {**os.environ, "FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr[-3000:]}")
    return Cost(**json.loads(done.stdout.strip().splitlines()[-1]))


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns aligned under their heads, numbers to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    return "\n".join(_line(row, widths) for row in (head, *rows))


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers])
