"""(e) A training set: entity rows joined with the feature rows that were known at their time."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.data import FEATURES
from benchmarks.measure import Cost, Line, Result, Table, cost_point, timed
from benchmarks.scene import Scene
from benchmarks.stores import feast_store, feature_refs

TITLE = "Training set: entity rows over feature rows (flights of 2013, thirty times), ten features"
TTL = timedelta(days=30)
DASK_SHARE = 20
"""Feast's Dask store gets one entity row in so many, over as large a share of the feature rows: it needs the memory."""
NAMES = {"ours": "ours, Delta", "stock": "Feast's DuckDB store, Parquet", "dask": "Feast's Dask store, Parquet"}


@dataclass(frozen=True)
class Outcome:
    """A contender's cost and what it returned: rows, and per feature the nulls and the sum."""

    cost: Cost
    rows: int
    nulls: list[int]
    sums: list[float]


def measure(scene: Scene) -> Result:
    """The contenders in turn, their answers compared."""
    found: dict[str, list[Outcome]] = {name: [] for name in NAMES}
    full = scene.run("data", "flights", scene.folder, scene.rows * 10)
    part = scene.run("data", "flights", scene.folder, max(1000, scene.rows * 10 // DASK_SHARE))
    for number in range(scene.rounds):
        for name, shown in NAMES.items():
            if name == "dask" and number:
                continue
            table, rows = (part, scene.rows // DASK_SHARE) if name == "dask" else (full, scene.rows)
            raw = scene.run("training", name, scene.folder, table["path"], max(10, rows))
            found[name].append(Outcome(Cost(**raw.pop("cost")), **raw))
            last = found[name][-1]
            scene.say(f"round {number + 1}: {shown:32} {last.cost.wall:6.1f} s, {last.rows:,} rows out")
    return _result(found, {"ours": full["rows"], "stock": full["rows"], "dask": part["rows"]})


def _result(found: dict[str, list[Outcome]], feature_rows: dict[str, int]) -> Result:
    head = ("store", "feature rows", "rows in", "rows out", "s", "rows/s", "peak MB")
    rows = [_row(name, outcomes, feature_rows[name]) for name, outcomes in found.items()]
    ours, stock = found["ours"][-1], found["stock"][-1]
    lines = [
        Line("training set, rows/s: ours / Feast's DuckDB store", _rate(found["ours"]), _rate(found["stock"]), 1),
        Line("training set: rows out / rows in", ours.rows, ours.cost.rows, 1),
        Line("training set: values equal to the DuckDB store's", _alike(ours, stock), 1 + 2 * FEATURES, 1),
        Line(
            "training set, rows/s: ours / Feast's Dask store (fewer rows)",
            _rate(found["ours"]),
            _rate(found["dask"]),
            1,
        ),
    ]
    points = [cost_point(NAMES[name], [one.cost for one in outcomes]) for name, outcomes in found.items()]
    return Result("e", TITLE, Table(head, rows), lines, points)


def _row(name: str, outcomes: list[Outcome], feature_rows: int) -> tuple[str | float | None, ...]:
    last = outcomes[-1]
    seconds = statistics.median(one.cost.wall for one in outcomes)
    peak = max(one.cost.peak_mb for one in outcomes)
    return (NAMES[name], feature_rows, last.cost.rows, last.rows, seconds, last.cost.rows / seconds, peak)


def _rate(outcomes: list[Outcome]) -> float:
    return statistics.median(one.cost.rows_per_second for one in outcomes)


def _alike(one: Outcome, other: Outcome) -> int:
    """How many of the checks agree: the rows, each feature's nulls, each feature's sum."""
    sums = zip(one.sums, other.sums, strict=True)
    close = [abs(a - b) <= 1e-9 * max(abs(a), abs(b)) for a, b in sums]
    nulls = [a == b for a, b in zip(one.nulls, other.nulls, strict=True)]
    return sum([one.rows == other.rows, *nulls, *close])


def entity_frame(table: Path, rows: int) -> Any:
    """`rows` aircraft and times of the table's year at random, seed 1; some before an aircraft's first flight, some long after."""
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    keys = (
        pq.read_table(table.with_suffix(".parquet"), columns=["id"])["id"]
        .unique()
        .sort()
        .to_numpy(zero_copy_only=False)
    )
    random = np.random.default_rng(1)
    year = int(timedelta(days=365) / timedelta(microseconds=1))
    times = np.datetime64("2013-01-01", "us") + random.integers(0, year, rows).astype("timedelta64[us]")
    return pd.DataFrame({"id": random.choice(keys, rows), "event_timestamp": pd.to_datetime(times, utc=True)})


def main() -> None:
    """`python -m benchmarks.training ours|stock|dask FOLDER TABLE ROWS` prints the Outcome as JSON."""
    name, folder, table, rows = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    store = feast_store(folder / f"training-{name}", name, redis="127.0.0.1:1", table=table, features=FEATURES, ttl=TTL)
    entities, answers = entity_frame(table, rows), []
    refs = feature_refs(FEATURES)
    cost = timed(lambda: answers.append(store.get_historical_features(entities, refs).to_arrow()), rows)
    answer = answers[0]
    features = [answer.column(f"f{n}").to_pandas() for n in range(FEATURES)]
    outcome = Outcome(
        cost, answer.num_rows, [int(f.isna().sum()) for f in features], [float(f.sum()) for f in features]
    )
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
