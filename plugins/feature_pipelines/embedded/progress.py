"""Live progress of DAG runs: one table that redraws itself in a terminal, one line per change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

MARKS = {
    "success": "[green]✓[/]",
    "failed": "[red]✗[/]",
    "upstream_failed": "[red]✗[/]",
    "skipped": "[dim]-[/]",
    "running": "[yellow]●[/]",
    "up_for_retry": "[red]↻[/]",
}
WAITING = "[dim]·[/]"
FINISHED = frozenset({"success", "failed"})


@dataclass
class Run:
    """One DAG run that the launcher triggered; `label` is what a person calls it."""

    dag: str
    run_id: str
    label: str
    started: float = field(default_factory=time.monotonic)
    state: str = "queued"
    seconds: float = 0.0
    tasks: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether Airflow is done with it."""
        return self.state in FINISHED

    def update(self, state: str, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Take what Airflow says now."""
        if not self.finished:
            self.seconds = time.monotonic() - self.started
        self.state = state
        self.tasks = sorted(tasks, key=lambda task: (task.get("start_date") or "9", task["task_id"]))


class Progress:
    """Shows runs while they go; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._begun = time.monotonic()
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, runs: list[Run]) -> None:
        """Draw the state of all runs."""
        if self._live:
            self._live.update(_table(runs), refresh=True)
            return
        for run in runs:
            if run.state in FINISHED and self._said.get(run.run_id) != run.state:
                self._said[run.run_id] = run.state
                now = time.monotonic() - self._begun
                tasks = " ".join(f"{_mark_word(task)}{task['task_id']}" for task in run.tasks)
                self._console.print(
                    f"{now:5.0f} s  {run.label}: {run.state} in {run.seconds:.0f} s ({tasks})", markup=False
                )


def _mark_word(task: Mapping[str, Any]) -> str:
    return "" if task["state"] == "success" else f"{task['state']}:"


def _table(runs: list[Run]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    table.add_column("tasks", no_wrap=True, overflow="ellipsis")
    table.add_column("s", justify="right")
    for run in runs:
        tasks = "  ".join(f"{MARKS.get(task['state'] or '', WAITING)} {task['task_id']}" for task in run.tasks)
        mark = MARKS.get(run.state, WAITING)
        table.add_row(f"{mark} {run.label}", tasks, f"{run.seconds:.0f}")
    return table
