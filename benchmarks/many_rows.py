"""(b) Ten million source rows: with 121 thousand keys, and with ten million keys. Rows per second and memory."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.data import FEATURES
from benchmarks.measure import Cost, Line, Result, Table, cost_point, timed
from benchmarks.scene import Scene
from benchmarks.stores import VIEW, feast_store

TITLE = "Materialize many rows of ten float64 features: ours, once each"
SAMPLE = 1000
"""Keys whose bytes in Redis are compared with the table afterwards."""
CASES = {"flights of 2013, thirty times": 500, "distinct keys": 700}
"""What is materialized, and how much memory it may take, MB."""


def measure(scene: Scene) -> Result:
    """Both tables, each into an empty Redis; what arrived is verified."""
    rows = scene.rows * 10
    tables = [
        scene.run("data", "flights", scene.folder, rows),
        scene.run("data", "distinct-delta", scene.folder, rows, FEATURES),
    ]
    shown: list[tuple[str | float | None, ...]] = []
    lines, points = [], []
    for (case, allowed), table in zip(CASES.items(), tables, strict=True):
        scene.flush()
        cost = scene.cost(
            "many_rows", scene.folder / "many_rows", scene.redis, table["path"], table["rows"], table["keys"]
        )
        memory: Any = scene.server.client().info("memory")
        redis_mb = memory["used_memory"] / 1024**2
        scene.say(f"{case:30} {cost.rows_per_second:>10,.0f} rows/s, peak {cost.peak_mb:,.0f} MB")
        written = table["keys"] / cost.wall
        shown.append(
            (case, table["rows"], table["keys"], cost.wall, cost.rows_per_second, written, cost.peak_mb, redis_mb)
        )
        lines.append(Line(f"{case}: peak MB of {allowed}", cost.peak_mb, allowed, 1, at_most=True))
        points.append(cost_point(case, [cost]))
    scene.flush()
    head = ("source", "rows", "keys", "s", "rows/s", "keys/s", "peak MB", "Redis MB")
    return Result("b", TITLE, Table(head, shown), lines, points)


def _materialize(folder: Path, redis: str, table: Path, sizes: tuple[int, int]) -> Cost:
    """Raises RuntimeError unless each key was written once; OnlineMismatch when Redis differs from the table."""
    from feast_lakehouse.engine import materialize, verify

    rows, keys = sizes
    store: Any = feast_store(folder, "ours", redis=redis, table=table, features=FEATURES, ttl=timedelta(0))
    written: list[int] = []
    cost = timed(lambda: written.append(materialize(store, VIEW).keys_written), rows)
    if written != [keys]:
        raise RuntimeError(f"{table}: expected {keys} keys written, found {written}")
    verify(store, VIEW, sample=SAMPLE)
    return cost


def main() -> None:
    """`python -m benchmarks.many_rows FOLDER REDIS TABLE ROWS KEYS` prints the Cost as JSON."""
    folder, redis, table, rows, keys = sys.argv[1:]
    print(json.dumps(asdict(_materialize(Path(folder), redis, Path(table), (int(rows), int(keys))))))


if __name__ == "__main__":
    main()
