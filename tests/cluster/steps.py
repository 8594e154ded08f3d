"""How long each step of a cluster test took, and which services were real; printed when the tests have ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from tests.services.stack import Started

PLAIN_WIDTH = 120


@dataclass
class Steps:
    """Services as they started, then named steps with their seconds, in the order of their end."""

    services: dict[str, Started] = field(default_factory=dict)
    seconds: list[tuple[str, float, bool]] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; one that fails is listed as failed."""
        began, done = time.monotonic(), False
        try:
            yield
            done = True
        finally:
            self.seconds.append((name, time.monotonic() - began, done))

    def started(self, services: Mapping[str, Started]) -> None:
        """Remember which services are there."""
        self.services.update(services)

    def text(self) -> str:
        """Both tables as plain text; empty when nothing was started."""
        if not self.services:
            return ""
        console = Console(width=PLAIN_WIDTH, no_color=True, force_terminal=False)
        with console.capture() as capture:
            console.print(self._services())
            console.print(self._steps())
        return capture.get()

    def _services(self) -> Table:
        table = Table("Service", "Real?", "Started in", title="Services")
        for one in self.services.values():
            real = f"missing: {one.reason}" if one.service is None else "real process on loopback"
            table.add_row(one.name, real, "" if one.service is None else f"{one.seconds:.1f} s")
        return table

    def _steps(self) -> Table:
        table = Table("Step", "Seconds", "Outcome", title="Steps")
        for name, seconds, done in self.seconds:
            table.add_row(name, f"{seconds:.1f}", "done" if done else "FAILED")
        return table


STEPS = Steps()
"""Of this test session."""
