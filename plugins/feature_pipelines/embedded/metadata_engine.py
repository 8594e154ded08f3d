"""How Airflow's programs open their SQLite database: a transaction that begins with a savepoint may not fail half-way.

Named in `airflow_local_settings.py` of the embedded environment, by which Airflow lets its engine be replaced.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event


def create_metadata_engine(
    sql_alchemy_conn: str, *, engine_args: dict[str, Any], connect_args: dict[str, Any]
) -> Engine:
    """Airflow's own engine, except that a savepoint waits for its turn to write before it reads anything.

    A backfill makes each run in a savepoint: it looks for the run, then inserts it. When the scheduler commits in
    between, SQLite refuses the insert at once ("database is locked", whatever the timeout), because the savepoint has
    seen a state that is no more. The backfill then stays behind without runs.
    """
    engine = create_engine(sql_alchemy_conn, connect_args=connect_args, **engine_args)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "savepoint", _take_the_write_lock)
    return engine


def _take_the_write_lock(connection: Connection, _name: str) -> None:
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
