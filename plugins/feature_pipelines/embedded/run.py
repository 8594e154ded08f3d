"""Runs the first days of the data through Airflow's scheduler: the registry and every source per day, then every table."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta

from feature_pipelines.embedded.airflow_api import AirflowApi
from feature_pipelines.embedded.progress import Progress, Run
from feature_pipelines.environment import Environment
from feature_pipelines.sources import sources
from spark_jobs.features import feature_tables
from spark_jobs.interval import Interval

POLL_SECONDS = 1.0


class RunFailedError(Exception):
    """A DAG run failed; the text says which task and ends with its log."""


def first_days(days: int) -> Interval:
    """The first days that every source has."""
    first = max(source.first_day for source in sources().values())
    return Interval.parse(_midnight(first), _midnight(first + timedelta(days=days)))


def run_days(api: AirflowApi, window: Interval, *, progress: Progress, check: Callable[[], None]) -> list[Run]:
    """Land the window day by day, then compute and materialize every table over all of it; the finished runs."""
    landings = [
        trigger(api, f"land_{source}", label=f"land_{source} {day.partition}", conf=days_conf(day))
        for day in window.days()
        for source in sources()
    ]
    runs = [trigger(api, "feature_registry", label="feature_registry", conf={}), *landings]
    wait_for(api, runs, progress=progress, check=check, shown=runs)
    tables = [trigger(api, table, label=table, conf=days_conf(window)) for table in feature_tables()]
    wait_for(api, tables, progress=progress, check=check, shown=runs + tables)
    return runs + tables


def wait_for(
    api: AirflowApi, runs: Sequence[Run], *, progress: Progress, check: Callable[[], None], shown: Sequence[Run]
) -> None:
    """Return when all runs have succeeded; RunFailedError as soon as one has failed, or what `check` raises."""
    while True:
        check()
        _update(api, [run for run in runs if not run.finished])
        progress.show(list(shown))
        failed = [run for run in runs if run.state == "failed"]
        if failed:
            raise RunFailedError(_explain(api, failed[0]))
        if all(run.finished for run in runs):
            return
        time.sleep(POLL_SECONDS)


def versions(env: Environment) -> dict[str, int]:
    """The Delta version of every table there is, raw, rejected and feature; its sum counts the commits."""
    refs = {f"raw/{name}": env.raw(name) for name in sources()}
    refs |= {f"raw/{name}_rejected": env.rejected(name) for name in sources()}
    refs |= {f"features/{name}": env.features(name) for name in feature_tables()}
    return {name: ref.state().version for name, ref in refs.items() if ref.exists()}


def new_commits(before: dict[str, int], after: dict[str, int]) -> int:
    """How many Delta commits lie between two answers of `versions` (the first commit of a table is version 0)."""
    return sum(version - before.get(name, -1) for name, version in after.items())


def trigger(api: AirflowApi, dag: str, *, label: str, conf: Mapping[str, object]) -> Run:
    """Start a run with an id of its own."""
    run_id = f"launcher__{uuid.uuid4().hex[:12]}"
    api.trigger(dag, run_id, conf=conf)
    return Run(dag, run_id, label)


def days_conf(window: Interval) -> dict[str, str]:
    """The params by which a run is told its days."""
    return {"start": f"{window.start:%Y-%m-%d}", "end": f"{window.end:%Y-%m-%d}"}


def _update(api: AirflowApi, runs: Sequence[Run]) -> None:
    found = api.progress([run.run_id for run in runs])
    for run in runs:
        seen = found[run.dag, run.run_id]
        run.update(seen.state, seen.tasks)


def _explain(api: AirflowApi, run: Run) -> str:
    broken = [task for task in run.tasks if task["state"] == "failed"]
    if not broken:
        return (
            f"{run.label}: Airflow says failed, and no task of it did; see {api.url}/dags/{run.dag}/runs/{run.run_id}"
        )
    task = broken[0]
    log = "\n".join(f"    {line}" for line in api.log(task).splitlines())
    return f"{run.label}: task {task['task_id']} failed. The end of its log:\n{log}"


def _midnight(day: date) -> str:
    return f"{day.isoformat()}T00:00:00+00:00"
