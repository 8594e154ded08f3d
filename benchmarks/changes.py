"""(c) Cost against change: a year of published intervals with disjoint keys, of which 1, 10 or 100 are published anew."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.data import FEATURES, schema
from benchmarks.measure import Line, Result, Table
from benchmarks.scene import Scene
from benchmarks.stores import VIEW, feast_store

TITLE = "365 published intervals with disjoint keys, of which some changed: the engine's own time, without imports"
INTERVALS = 365
CHANGED = (1, 10, 100)
PARTITIONED = ("interval_start", "build")
FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
REBUILD = "full rebuild"


def measure(scene: Scene) -> Result:
    """One process: publish, materialize, then change and materialize again and again, a full rebuild in each round."""
    scene.flush()
    scene.say(f"publishing {INTERVALS} intervals, then {scene.rounds} rounds")
    runs = scene.run("changes", scene.folder / "changes", scene.redis, scene.rows // INTERVALS or 1, scene.rounds)
    names = [*(f"{n} changed" for n in CHANGED), REBUILD]
    told = {name: [run for run in runs if run["name"] == name] for name in names}
    rows: list[tuple[str | float | None, ...]] = []
    points: list[dict[str, object]] = []
    whole = _middle(told[REBUILD])
    for name, found in told.items():
        seconds, last = _middle(found), found[-1]
        scene.say(f"{name:14} {seconds:8.3f} s")
        rows.append((name, last["rows_read"], last["keys_written"], seconds * 1000, 100 * seconds / whole))
        points.append({"name": name, "intervals": last["intervals"], "rows": last["rows_read"], "seconds": seconds})
    one, full = told["1 changed"][-1], told[REBUILD][-1]
    lines = [
        Line("1 of 365 changed: rows read / full rebuild", one["rows_read"], full["rows_read"], 0.01, at_most=True),
        Line("1 of 365 changed: seconds / full rebuild", _middle(told["1 changed"]), whole, 0.05, at_most=True),
    ]
    return Result(
        "c", TITLE, Table(("intervals", "rows read", "keys written", "ms", "% of rebuild"), rows), lines, points
    )


def _middle(runs: list[dict[str, Any]]) -> float:
    return statistics.median(float(run["seconds"]) for run in runs)


def _rows(interval: int, rows: int, edition: int) -> pa.RecordBatch:
    """Rows of one interval: keys of its own, numbers that differ in each edition, and the two partition columns."""
    random = np.random.default_rng((interval, edition))
    keys = pa.array([f"key-{interval}-{n}" for n in range(rows)])
    numbers = [pa.array(random.random(rows)) for _ in range(FEATURES)]
    ends = pa.array([FIRST_DAY + timedelta(days=interval + 1)] * rows, pa.timestamp("us", "UTC"))
    partition = [pa.array([text] * rows) for text in (_start(interval), f"edition-{edition}")]
    return pa.record_batch([keys, *numbers, ends, *partition], names=[*schema().names, *PARTITIONED])


def _start(interval: int) -> str:
    return (FIRST_DAY + timedelta(days=interval)).date().isoformat()


def _publish(table: Path, intervals: range, rows: int, edition: int) -> None:
    """One commit in which these intervals, and no others, get new files."""
    from deltalake import write_deltalake

    first = _rows(intervals[0], rows, edition)
    rest = (_rows(interval, rows, edition) for interval in intervals[1:])
    batches = pa.RecordBatchReader.from_batches(first.schema, itertools.chain([first], rest))
    if not table.exists():
        write_deltalake(str(table), batches, partition_by=list(PARTITIONED))
        return
    starts = ", ".join(f"'{_start(interval)}'" for interval in intervals)
    write_deltalake(str(table), batches, mode="overwrite", predicate=f"interval_start IN ({starts})")


def _runs(folder: Path, redis: str, rows: int, rounds: int) -> Iterator[dict[str, object]]:
    from feast_lakehouse.engine import materialize

    table = folder / "table"
    folder.mkdir(parents=True, exist_ok=True)
    _publish(table, range(INTERVALS), rows, 0)
    store = feast_store(folder, "ours", redis=redis, table=table, features=FEATURES, ttl=timedelta(0))
    materialize(store, VIEW)
    for edition in range(1, rounds + 1):
        for changed in CHANGED:
            first = edition * 7 % (INTERVALS - changed)
            _publish(table, range(first, first + changed), rows, edition * 1000 + changed)
            yield _told(f"{changed} changed", changed, materialize(store, VIEW), expected=changed * rows)
        yield _told(REBUILD, INTERVALS, materialize(store, VIEW, rebuild="benchmark"), expected=INTERVALS * rows)


def _told(name: str, intervals: int, report: Any, *, expected: int) -> dict[str, object]:
    """Raises RuntimeError unless exactly the changed keys were written, and without a rebuild nobody asked for."""
    if report.keys_written != expected or (report.reason and name != REBUILD):
        raise RuntimeError(f"{name}: expected {expected} keys written, found {report}")
    told = {"rows_read": report.rows_read, "keys_written": report.keys_written, "seconds": report.seconds}
    return {"name": name, "intervals": intervals, **told}


def main() -> None:
    """`python -m benchmarks.changes FOLDER REDIS ROWS-PER-INTERVAL ROUNDS` prints every run as JSON."""
    folder, redis, rows, rounds = sys.argv[1:]
    print(json.dumps(list(_runs(Path(folder), redis, int(rows), int(rounds)))))


if __name__ == "__main__":
    main()
