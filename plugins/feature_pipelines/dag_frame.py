"""What the DAGs have in common: daily intervals, the trigger form, assets."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, CronDataIntervalTimetable, Param, task

from feature_pipelines.sources import sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow.sdk import XComArg

    from spark_jobs.contract import FeatureTable, RawTable


def daily() -> CronDataIntervalTimetable:
    """One run per UTC day, after the day; backfills create the runs of past days."""
    return CronDataIntervalTimetable("0 0 * * *", timezone="UTC")


def first_day(names: Iterable[str]) -> datetime:
    """The first day for which one of these sources has data."""
    return _midnight(min(sources()[name].first_day for name in names))


def last_day(names: Iterable[str]) -> datetime:
    """The last day in which something about these sources became known.

    Airflow schedules no run of a later day, so that a finished data set does not fail every night; a backfill or a
    manual run of a later day is still possible.
    """
    chosen = [sources()[name] for name in names]
    return _midnight(max(source.last_day + timedelta(days=source.known_within_days) for source in chosen))


def day_params() -> dict[str, Param]:
    """The trigger form's days; left empty, a run is about its data interval."""
    return {
        "start": Param(
            None,
            type=["null", "string"],
            format="date",
            title="First day",
            description="UTC day, e.g. 2013-01-01. Empty: the run's own interval.",
        ),
        "end": Param(
            None,
            type=["null", "string"],
            format="date",
            title="End (excluded)",
            description="The UTC day after the last one, e.g. 2013-01-04. Empty: one day.",
        ),
    }


def flag_param(title: str, description: str) -> Param:
    """A tick box of the trigger form, off unless ticked."""
    return Param(default=False, type="boolean", title=title, description=description)


def step(function: Callable[..., object], **options: Any) -> Callable[..., XComArg]:
    """A task that calls `function`, named like it, with its docstring as the task's page; its report is one XCom."""
    return task(task_id=function.__name__, multiple_outputs=False, **options)(function)


def raw_asset(table: RawTable) -> Asset:
    """The raw table of a source. An asset names lake and table; where the lake is, and how to log in, it does not say."""
    return Asset(name=f"raw/{table.name}", uri=f"lake://{table.lake}/raw/{table.name}", group="raw")


def feature_asset(table: FeatureTable) -> Asset:
    """The published feature table."""
    return Asset(name=f"features/{table.name}", uri=f"lake://{table.lake}/features/{table.name}", group="features")


def online_asset(table: FeatureTable) -> Asset:
    """The view in the online store."""
    return Asset(name=f"online/{table.name}", uri=f"online://redis/{table.name}", group="online")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
