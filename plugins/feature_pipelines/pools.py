"""Airflow's pools: `python -m feature_pipelines.pools` prints what `airflow pools import` reads.

Airflow never schedules a task whose pool does not exist and says so only in the scheduler's log. Import this file at every
deployment; a pool that is missing all the same, say of a table added since, is made when its run starts
(`feature_pipelines.pool_listener`).
"""

from __future__ import annotations

import json
from typing import TypedDict

from feature_pipelines import environment
from spark_jobs.features import feature_tables

SPARK = "spark"
"""One slot is one Spark application. How many there are the environment's file says (`spark.applications`): as many as the
cluster has cores and memory for, and the Airflow worker, where the drivers live, has memory for.
"""


class Pool(TypedDict):
    """One pool in the format of `airflow pools import`."""

    slots: int
    description: str
    include_deferred: bool


def view_pool(table: str) -> str:
    """The one-slot pool of a view: its materializations and verifications come one after the other."""
    return f"online_{table}"


def pools() -> dict[str, Pool]:
    """Every pool by name. One slot saves work only: two writers of a view at once are fenced in Redis anyway."""
    views = {view_pool(name): _pool(1, f"Writes and checks of the online view {name}.") for name in feature_tables()}
    return {
        SPARK: _pool(environment.load().spark_applications, "Spark applications at a time."),
        **views,
    }


def pools_of(dag_id: str) -> set[str]:
    """The names of the pools that a DAG's tasks use besides Airflow's default pool."""
    return {SPARK, view_pool(dag_id)} if dag_id in feature_tables() else set()


def _pool(slots: int, description: str) -> Pool:
    return {"slots": slots, "description": description, "include_deferred": False}


if __name__ == "__main__":
    print(json.dumps(pools(), indent=2))
