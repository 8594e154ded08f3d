"""What is measured and how it is told: costs of a contender, comparisons, tables."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What a contender's timed part took: wall and CPU seconds (without Redis), and its process's peak memory in MB.

    A peak of zero was not measured.
    """

    wall: float
    cpu: float
    peak_mb: float
    rows: int

    @property
    def rows_per_second(self) -> float:
        """Rows over wall time."""
        return self.rows / self.wall


def timed(work: Callable[[], object], rows: int) -> Cost:
    """Run the work in this process; memory is the process's peak so far, imports included."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    work()
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    return Cost(wall, _seconds(after) - _seconds(before), peak_mb(), rows)


def _seconds(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def peak_mb() -> float:
    """The peak resident memory of this process so far, in MB.

    Linux's ru_maxrss starts at the size of the process that started this one; VmHWM does not.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


@dataclass(frozen=True)
class Line:
    """One comparison. `limit` bounds the ratio: the least that is good enough, or with `at_most` the most.

    Where there is no peer but a fixed allowance (memory, milliseconds), the allowance is the peer and the limit is 1.
    """

    name: str
    ours: float
    peer: float
    limit: float
    at_most: bool = False

    @property
    def ratio(self) -> float:
        """How many times the peer ours is."""
        return self.ours / self.peer if self.peer else float("inf")

    @property
    def good(self) -> bool:
        """Whether the limit is kept."""
        return self.ratio <= self.limit if self.at_most else self.ratio >= self.limit

    def to_json(self) -> str:
        """One line for machines."""
        name = f"{self.name} (at most)" if self.at_most else self.name
        told = {"name": name, "ours": _short(self.ours), "peer": _short(self.peer), "limit": self.limit}
        return json.dumps({**told, "ratio": round(self.ratio, 4)})

    def cells(self) -> tuple[str, ...]:
        """As a row of a table."""
        bound = f"{'<=' if self.at_most else '>='} {self.limit:g}"
        return (
            self.name,
            figure(self.ours),
            figure(self.peer),
            figure(self.ratio),
            bound,
            "" if self.good else "missed",
        )


@dataclass(frozen=True)
class Table:
    """A table of results: the first column is a name, the others numbers; None where there is no number."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str | float | None, ...]]

    def __str__(self) -> str:
        return aligned(self.head, [tuple(figure(cell) for cell in row) for row in self.rows])


@dataclass(frozen=True)
class Result:
    """A benchmark's outcome. `points` are what plots are drawn from, each a flat record."""

    letter: str
    title: str
    table: Table
    lines: Sequence[Line]
    points: Sequence[dict[str, object]]

    def __str__(self) -> str:
        head = ("comparison", "ours", "peer", "ratio", "wanted", "")
        compared = aligned(head, [line.cells() for line in self.lines])
        return f"({self.letter}) {self.title}\n\n{self.table}\n\n{compared}\n"

    def records(self) -> list[str]:
        """What is saved: the table, the points, the comparisons, as JSON lines that name the benchmark."""
        table = {"table": {"head": self.table.head, "rows": self.table.rows}}
        told = [table, *self.points, *(json.loads(line.to_json()) for line in self.lines)]
        return [json.dumps({"benchmark": self.letter, **one}) for one in told]


def figure(cell: str | float | None) -> str:
    """A number with three significant digits or more, text as it is, nothing as a dash."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"  # noqa: PLR2004 — three digits


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def aligned(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns aligned under their heads, numbers to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    return "\n".join(_line(row, widths) for row in (head, *rows))


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()


def cost_point(contender: str, costs: Sequence[Cost]) -> dict[str, object]:
    """The medians of a contender's rounds, for plots."""
    middle = sorted(costs, key=lambda cost: cost.rows_per_second)[len(costs) // 2]
    return {"contender": contender, "rows_per_second": round(middle.rows_per_second), **asdict(middle)}
