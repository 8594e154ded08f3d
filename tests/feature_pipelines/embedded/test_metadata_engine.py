from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, exc, text

from feature_pipelines.embedded.metadata_engine import create_metadata_engine


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "airflow.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE run (id TEXT)")
        connection.commit()
    return file


def write(database: Path) -> None:
    """What the scheduler does all the time; it does not wait here."""
    with contextlib.closing(sqlite3.connect(database, timeout=0)) as connection:
        connection.execute("INSERT INTO run VALUES ('scheduler')")
        connection.commit()


def look_then_insert(engine: Engine, database: Path) -> bool:
    """What a backfill does, with the scheduler between its look and its insert; whether the scheduler was let in."""
    let_in = False
    with engine.connect() as connection:
        with connection.begin_nested():
            connection.execute(text("SELECT count(*) FROM run")).scalar()
            with contextlib.suppress(sqlite3.OperationalError):
                write(database)
                let_in = True
            connection.execute(text("INSERT INTO run VALUES ('backfill')"))
        connection.commit()
    return let_in


def test_nobody_writes_between_the_look_and_the_insert(database: Path) -> None:
    engine = create_metadata_engine(f"sqlite:///{database}", engine_args={}, connect_args={})
    assert not look_then_insert(engine, database)
    write(database)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM run ORDER BY id")).scalars().all() == ["backfill", "scheduler"]
    engine.dispose()


def test_airflows_own_engine_fails_there(database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}")
    with pytest.raises(exc.OperationalError, match="database is locked"):
        look_then_insert(engine, database)
    engine.dispose()
