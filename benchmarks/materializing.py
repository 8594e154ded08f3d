"""(a) Materializing a million keys of ten features: ours, Feast's engines, `redis-cli --pipe`, and our guard alone."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.data import FEATURES
from benchmarks.measure import Cost, Line, Result, Table, cost_point
from benchmarks.scene import Scene

TITLE = "Materialize distinct keys with ten float64 features, from the table to the last acknowledgement"
STOCK_SHARE = 10
"""Feast's local engine gets one row in so many: its rate does not depend on the rows, its memory does."""
SPARK_SHARE = 5
"""Feast's Spark engine gets one row in so many, once. What its workers import first, about 10 s, is part of its time."""
CONTENDERS = {
    "pipe": "redis-cli --pipe",
    "guard": "guard alone",
    "ours": "ours",
    "ours-rewrite": "ours, rewrite",
    "pipe-rewrite": "redis-cli --pipe, rewrite",
    "guard-rewrite": "guard alone, rewrite",
    "pipe-guarded-rewrite": "redis-cli --pipe of what the guard sends, rewrite",
    "stock": "stock local, one batch",
    "stock batched": "stock local, batches of 1000",
    "stock spark": "stock Spark, local[2]",
}
Costs = dict[str, list[Cost]]


def measure(scene: Scene) -> Result:
    """Every contender in turn, `rounds` times over, so that a slow minute of the machine hits all alike.

    A rewrite follows a contender that has filled Redis with the same keys.
    """
    sizes = {name: _size(name, scene.rows) for name in CONTENDERS}
    for rows in sorted(set(sizes.values())):
        scene.run("data", "distinct", scene.folder, rows, FEATURES)
    scene.run("contenders", "commands", scene.folder, scene.redis, scene.rows)
    costs: Costs = {name: [] for name in CONTENDERS}
    for number in range(scene.rounds):
        for name, shown in CONTENDERS.items():
            if name == "stock spark" and number:
                continue
            if not name.endswith("-rewrite"):
                scene.flush()
            costs[name].append(scene.cost("contenders", name, scene.folder, scene.redis, sizes[name]))
            scene.say(f"round {number + 1}: {shown:50} {costs[name][-1].rows_per_second:>10,.0f} rows/s")
    _remove_commands(scene.folder)
    return _result(costs)


def _size(name: str, rows: int) -> int:
    share = {"stock": STOCK_SHARE, "stock batched": STOCK_SHARE, "stock spark": SPARK_SHARE}.get(name, 1)
    return max(100, rows // share)


def _remove_commands(folder: Path) -> None:
    for path in (*folder.glob("*.resp"), *folder.glob("*.arrow")):
        path.unlink()


def _result(costs: Costs) -> Result:
    head = ("contender", "rows", "rows/s", "rows per CPU s", "peak MB")
    rows: list[tuple[str | float | None, ...]] = [
        (
            shown,
            float(costs[name][0].rows),
            _rate(costs[name]),
            statistics.median(cost.rows / cost.cpu for cost in costs[name]),
            max(cost.peak_mb for cost in costs[name]) or None,
        )
        for name, shown in CONTENDERS.items()
    ]
    points = [cost_point(shown, costs[name]) for name, shown in CONTENDERS.items()]
    return Result("a", TITLE, Table(head, rows), _lines(costs), points)


def _lines(costs: Costs) -> list[Line]:
    rates = {name: [cost.rows_per_second for cost in found] for name, found in costs.items()}
    stock = [max(both) for both in zip(rates["stock"], rates["stock batched"], strict=True)]
    compared = [
        Line(
            "materialize, rows/s: ours / stock local engine, the faster of the two", *_middle(rates["ours"], stock), 12
        ),
        Line("materialize, rows/s: ours / stock Spark engine", *_middle(rates["ours"], rates["stock spark"]), 1),
    ]
    for ours, how in (("ours", "end to end"), ("guard", "guard alone")):
        limit = 0.6 if ours == "ours" else 0.8
        for end, state in (("", "fresh"), ("-rewrite", "rewrite")):
            name = f"{how}, {state}, rows/s: ours / redis-cli --pipe"
            compared.append(Line(name, *_middle(rates[ours + end], rates["pipe" + end]), limit))
    name = "guard alone, rewrite, rows/s: ours / redis-cli --pipe of what the guard sends"
    compared.append(Line(name, *_middle(rates["guard-rewrite"], rates["pipe-guarded-rewrite"]), 0.8))
    peak = max(cost.peak_mb for name in ("ours", "ours-rewrite") for cost in costs[name])
    return [*compared, Line("materialize, peak MB of 500", peak, 500, 1, at_most=True)]


def _middle(ours: list[float], peer: list[float]) -> tuple[float, float]:
    """The round in the middle by its ratio: a slow minute of the machine hits both sides of a round alike."""
    rounds = sorted(zip(ours, peer, strict=False), key=lambda pair: pair[0] / pair[1])
    return rounds[(len(rounds) - 1) // 2]


def _rate(costs: list[Cost]) -> float:
    return statistics.median(cost.rows_per_second for cost in costs)
