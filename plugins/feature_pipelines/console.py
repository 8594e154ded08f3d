"""What the command line prints: aligned tables, times in UTC, sizes and counts for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

Cell = str | int | datetime | None
NOTHING = "-"


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Columns aligned under their heads, numbers to the right; the head alone when there are no rows."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    right = [all(isinstance(row[n], int) or row[n] is None for row in rows) and bool(rows) for n in range(len(head))]
    return "\n".join(_line(line, widths, right) for line in (head, *texts))


def size(count: int) -> str:
    """Bytes as B, kB, MB or GB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:  # noqa: PLR2004 - what kilo means
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


class Bar:
    """A progress bar on a terminal; elsewhere a line for every tenth of the work."""

    WIDTH, STEPS = 30, 10

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = -1

    def show(self, done: int, total: int, at: datetime) -> None:
        """`done` of `total`, which has come to `at` in the time of the data."""
        steps = self.WIDTH * 10 if self._stream.isatty() else self.STEPS
        step = steps * done // total
        if step == self._shown:
            return
        self._shown = step
        text = f"{done:,} of {total:,}, {at:%Y-%m-%d %H:%M}Z"
        if self._stream.isatty():
            filled = self.WIDTH * done // total
            self._stream.write(f"\r[{'#' * filled:<{self.WIDTH}}] {text}" + ("\n" if done == total else ""))
        else:
            self._stream.write(f"  {text}\n")
        self._stream.flush()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(cells, widths, right, strict=True)
    )
    return "  ".join(padded).rstrip()


def _text(cell: Cell) -> str:
    if cell is None:
        return NOTHING
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:%Y-%m-%d %H:%M}Z" if isinstance(cell, datetime) else cell
