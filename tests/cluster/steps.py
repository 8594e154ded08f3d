"""How long each step of a cluster test took, and which services were real; printed when the tests have ended.

A plugin of pytest: with several workers (pytest-xdist) the one that ran the cluster hands its tables to the one that prints.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.services.stack import Started

PLAIN_WIDTH = 120


@dataclass
class Step:
    """One step; `outcome` is what it says of itself when it is done."""

    name: str
    seconds: float = 0.0
    outcome: str = "done"


@dataclass
class Steps:
    """Services as they started, then named steps with their seconds, in the order of their start."""

    services: dict[str, Started] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step; one that fails is listed as failed."""
        step, began = Step(name), time.monotonic()
        self.steps.append(step)
        try:
            yield step
        except BaseException:
            step.outcome = "FAILED"
            raise
        finally:
            step.seconds = time.monotonic() - began

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
            real = f"missing: {one.reason}" if one.service is None else one.kind
            table.add_row(one.name, real, f"{one.seconds:.1f} s" if one.service is not None and one.seconds else "")
        return table

    def _steps(self) -> Table:
        table = Table("Step", "Seconds", "Outcome", title="Steps")
        for step in self.steps:
            table.add_row(step.name, f"{step.seconds:.1f}", step.outcome)
        return table


STEPS = Steps()
"""Of this test session."""

TOLD: list[str] = []
"""What the workers of this session handed over."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: hand the tables over."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["steps"] = STEPS.text()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the process that prints: take them."""
    TOLD.append(getattr(node, "workeroutput", {}).get("steps", ""))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which services were real, and how long each step took."""
    for text in filter(None, [*TOLD, STEPS.text()]):
        terminalreporter.write_sep("=", "cluster")
        terminalreporter.write_line(text)
