"""A DuckDB session for one query over Arrow data: bounded memory, spilling to a folder that goes away with it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import duckdb
import pyarrow as pa


@dataclass(frozen=True)
class Limits:
    """`memory` such as "4GB" (more spills to disk) and `threads`; None leaves DuckDB's own choice."""

    memory: str | None = None
    threads: int | None = None


def run(sql: str, inputs: Mapping[str, Any], *, limits: Limits, timeout: float | None = None) -> pa.Table:
    """The result of `sql` over `inputs` (name -> Arrow table, reader or scanner; each is scanned once).

    Raises TimeoutError when `timeout` seconds were not enough.
    """
    with _session(limits) as connection:
        for name, data in inputs.items():
            connection.register(name, data)
        with _deadline(connection, timeout) as expired:
            try:
                return cast("pa.Table", connection.sql(sql).to_arrow_table())
            except duckdb.InterruptException as error:
                if not expired.is_set():
                    raise
                raise TimeoutError(f"The query did not end within {timeout} s.") from error


@contextmanager
def _deadline(connection: duckdb.DuckDBPyConnection, timeout: float | None) -> Iterator[threading.Event]:
    """Interrupts the connection after `timeout` seconds, again and again: an interrupt between two steps is lost."""
    expired, done = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(timeout):
            return
        expired.set()
        while not done.wait(0.02):
            connection.interrupt()

    watcher = threading.Thread(target=watch, name="query-deadline", daemon=True)
    try:
        if timeout:
            watcher.start()
        yield expired
    finally:
        done.set()
        if timeout:
            watcher.join()


@contextmanager
def _session(limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    with tempfile.TemporaryDirectory(prefix="duckdb-") as folder:
        config: dict[str, Any] = {"temp_directory": folder, "python_enable_replacements": False}
        config |= {"memory_limit": limits.memory} if limits.memory else {}
        config |= {"threads": limits.threads} if limits.threads else {}
        with duckdb.connect(config=config) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            # Of Arrow data DuckDB knows no row count, and would guess that the large side of a join is the small one:
            # joins stay as they are written, the side to keep in memory on the right.
            connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
            yield connection
