"""Pools that a starting run needs and that do not exist are made, by the scheduler: it would pass over their tasks in silence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:  # noqa: ARG001 - pluggy passes arguments by name
    """Called by the scheduler, inside its transaction, when a run starts."""
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is not None:
        create_missing(session, dag_run.dag_id)


def create_missing(session: Session, dag_id: str) -> list[str]:
    """Makes the pools of a table's DAG that are missing, returns their names; leaves what exists as somebody set it."""
    from airflow.models.pool import Pool
    from sqlalchemy import select
    from sqlalchemy.dialects import postgresql, sqlite

    from feature_pipelines.pools import pools, pools_of

    needed = pools_of(dag_id)
    existing = set(session.scalars(select(Pool.pool).where(Pool.pool.in_(needed))))
    missing = sorted(needed - existing)
    for name in missing:
        log.warning("Pool %s did not exist: made it. Import `python -m feature_pipelines.pools` at deployment.", name)
        # Another scheduler may make it now, and a conflict would spoil this transaction, which allows no savepoint.
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        session.execute(insert(Pool).values(pool=name, **pools()[name]).on_conflict_do_nothing())
    return missing
