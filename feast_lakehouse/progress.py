"""How far a materialization is: a bar on a terminal, else a line in the log every few seconds."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS = 5.0
"""Between two lines in the log; a run that is over sooner says nothing."""


class Progress:
    """Rows settled so far of the most there can be, rows per second, percent, and the time that is left."""

    def __init__(self, view: str) -> None:
        self._view = view
        self._started = self._told = time.monotonic()
        self._bar: tqdm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, most: int) -> None:
        """Tell it, if it is time to."""
        if sys.stderr.isatty():
            self._draw(done, most)
        elif time.monotonic() - self._told >= SECONDS:
            self._told = time.monotonic()
            logger.info("%s", self.line(done, most, self._told - self._started))

    def line(self, done: int, most: int, seconds: float) -> str:
        """What the log is told. Several rows of one key count once, so a run may end before 100 %."""
        rate = done / seconds if seconds else 0.0
        left = f"{max(0, most - done) / rate:,.0f} s left at most" if rate else "time left unknown"
        share = 100 * done / most if most else 100
        return f"{self._view}: {done:,} of at most {most:,} rows, {share:.0f} %, {rate:,.0f} rows/s, {left}"

    def _draw(self, done: int, most: int) -> None:
        if self._bar is None:
            self._bar = tqdm(total=most, desc=self._view, unit=" rows", unit_scale=True, delay=1.0, leave=False)
        self._bar.update(done - self._bar.n)
