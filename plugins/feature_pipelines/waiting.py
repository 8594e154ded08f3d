"""The `wait` step: a run goes on when every source has landed its days; waiting costs no worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, timezone
from airflow.triggers.base import BaseTrigger, TriggerEvent

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.policy import PATIENCE
from feature_pipelines.window import resolve_window
from spark_jobs.interval import Interval

if TYPE_CHECKING:
    from airflow.sdk import Context

POLL_SECONDS = 5.0
_SHOWN_DAYS = 5


class NotLanded(DataError):
    """Raw intervals did not come in time, or cannot come: somebody has to land them."""


class WaitForRaw(BaseOperator):
    """Ends when the raw tables hold every day of the run's window (a day without rows counts: it is landed as zero rows).

    Looks once; what is missing then is awaited in the triggerer, at most `patience`. Raises NotLanded afterwards, and
    at once for days that lie beyond a source's data and that nothing will land by itself.
    """

    ui_color = "#eef5fb"

    def __init__(self, *, table: str, patience: timedelta = PATIENCE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.patience = patience

    def execute(self, context: Context) -> None:
        """Looks, and defers when something is missing."""
        window = resolve_window(context)
        missing = missing_days(self.table, window)
        if not missing:
            self.log.info("%s %s: every source has landed", self.table, window)
            return
        _refuse_impossible(self.table, missing)
        self.log.info("%s waits for %s", self.table, _told(missing))
        deadline = timezone.utcnow() + self.patience
        trigger = RawLanded(self.table, window.start.isoformat(), window.end.isoformat(), deadline=deadline.isoformat())
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Context, event: dict[str, list[str]]) -> None:  # noqa: ARG002 - Airflow passes both by name
        """Ends, or says what did not come in time."""
        if event:
            raise NotLanded(
                f"{self.table}: after {self.patience} these days have not landed: {_told(event)}. "
                f"Run {_landing_dags(event)} for them, then this run again."
            )
        self.log.info("%s: every source has landed", self.table)


class RawLanded(BaseTrigger):
    """Fires with what is missing (source -> days): nothing as soon as all is there, the rest at the deadline.

    Only names and times travel through Airflow's database; the triggerer finds the lakes by itself.
    """

    def __init__(self, table: str, start: str, end: str, *, deadline: str, poll_seconds: float = POLL_SECONDS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves its triggers untyped
        self.table = table
        self.start = start
        self.end = end
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer."""
        names = ("table", "start", "end", "deadline", "poll_seconds")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks every `poll_seconds`, in a thread: reading a table's log blocks.

        Storage that does not answer is asked again until the deadline: hours of waiting must not end with one hiccup.
        """
        window, deadline = Interval.parse(self.start, self.end), datetime.fromisoformat(self.deadline)
        while True:
            is_last = timezone.utcnow() >= deadline
            try:
                missing = await asyncio.to_thread(missing_days, self.table, window)
            except TransportError as error:
                if is_last:
                    raise
                self.log.warning("%s is looked at again: %s", self.table, error)
            else:
                if is_last or not missing:
                    yield TriggerEvent(missing)  # type: ignore[no-untyped-call]
                    return
            await asyncio.sleep(self.poll_seconds)


def missing_days(table: str, window: Interval) -> dict[str, list[str]]:
    """Source -> days of the window that it has not landed, sorted; sources that have all are not named."""
    from feature_pipelines import environment
    from feature_pipelines.builds import Missing, expected_builds

    missing: dict[str, list[str]] = {}
    for day, build in sorted(expected_builds(environment.load(), table, window.days()).items()):
        for source in build.sources if isinstance(build, Missing) else ():
            missing.setdefault(source, []).append(day)
    return missing


def _refuse_impossible(table: str, missing: Mapping[str, list[str]]) -> None:
    from feature_pipelines.dag_frame import first_day, last_day

    for source, days in missing.items():
        first, last = f"{first_day([source]):%Y-%m-%d}", f"{last_day([source]):%Y-%m-%d}"
        beyond = [day for day in days if not first <= day <= last]
        if beyond:
            raise NotLanded(
                f"{table} needs {_told({source: beyond})}, but {source} has data for {first} to {last} and nothing lands other "
                f"days by itself. Run {_landing_dags([source])} for them (they land as zero rows), or choose days with start and end."
            )


def _told(missing: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{source} {_days(days)}" for source, days in sorted(missing.items()))


def _days(days: list[str]) -> str:
    rest = len(days) - _SHOWN_DAYS
    return ", ".join(days[:_SHOWN_DAYS]) + (f" and {rest} more" if rest > 0 else "")


def _landing_dags(names: Mapping[str, Any] | list[str]) -> str:
    return ", ".join(f"land_{name}" for name in sorted(names))
