"""Plots of the last saved run: bars for (a), a line for (c), percentiles for (d). `python -m benchmarks.plots`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SAVED = Path(".local/bench.jsonl")
TARGET = Path("docs/benchmarks")
OURS, PEER, REFERENCE, INK = "#1f6f8b", "#b8b8b8", "#e0a458", "#333333"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "text.color": INK,
    "svg.hashsalt": "benchmarks",  # the same numbers give the same file
}
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1}
Record = dict[str, Any]


def draw(saved: Path = SAVED, target: Path = TARGET) -> list[Path]:
    """Draw what the file holds; the paths of the SVG files. Raises FileNotFoundError when nothing was saved yet."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    records = [json.loads(line) for line in saved.read_text().splitlines()]
    target.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(STYLE):
        for letter, (name, paint) in PLOTS.items():
            points = [
                one for one in records if one["benchmark"] == letter and not {"about", "table", "limit"} & one.keys()
            ]
            if points:
                figure = paint(points)
                path = target / f"{name}.svg"
                figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
                plt.close(figure)
                drawn.append(path)
    return drawn


def _colour(name: str) -> str:
    if "redis" in name:
        return REFERENCE
    return OURS if name.startswith(("ours", "guard")) else PEER


def _bars(points: list[Record]) -> Any:
    """Rows per second, and peak memory, of each contender."""
    from matplotlib import pyplot as plt

    names = [point["contender"] for point in points]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, width_ratios=(3, 2))
    for axes, key, label in (
        (left, "rows_per_second", "thousand rows/s"),
        (right, "peak_mb", "peak memory of the process, MB"),
    ):
        scale = 1000 if key == "rows_per_second" else 1
        values = [point[key] / scale for point in points]
        bars = axes.barh(names, values, color=[_colour(name) for name in names])
        axes.bar_label(bars, [f"{v:,.0f}" if v >= 1 else "" for v in values], padding=3, bbox=PAPER)
        axes.set_xlabel(label)
        axes.margins(x=0.15)
        axes.tick_params(left=False)
    left.invert_yaxis()
    right.axvline(500, color=INK, linewidth=0.8, linestyle=":")
    right.annotate("500", (500, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
    return figure


def _line(points: list[Record]) -> Any:
    """Seconds of a run against the intervals that changed."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2))
    runs = [point for point in points if point["name"] != "full rebuild"]
    rebuild = next(point for point in points if point["name"] == "full rebuild")
    axes.plot([p["intervals"] for p in runs], [p["seconds"] for p in runs], marker="o", color=OURS)
    for point in runs:
        where = (point["intervals"], point["seconds"])
        axes.annotate(f"{point['seconds']:.2f} s", where, (0, 7), textcoords="offset points", ha="center", color=OURS)
    axes.axhline(rebuild["seconds"], color=PEER)
    axes.annotate(
        f"full rebuild, {rebuild['seconds']:.1f} s", (1, rebuild["seconds"]), (0, 4), textcoords="offset points"
    )
    axes.set_xscale("log")
    axes.set_xticks([p["intervals"] for p in runs], [str(p["intervals"]) for p in runs], minor=False)
    axes.set_xlabel("changed intervals of 365")
    axes.set_ylabel("engine time, s")
    axes.margins(x=0.1)
    axes.set_ylim(0, rebuild["seconds"] * 1.15)
    return figure


def _percentiles(points: list[Record]) -> Any:
    """p50 (bar) and p99 (whisker) of each reader, idle and during a materialization, one panel per number of entities."""
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    sizes = sorted({point["entities"] for point in points})
    figure, panels = plt.subplots(1, len(sizes), figsize=(9, 3.2))
    for axes, entities in zip(panels, sizes, strict=True):
        found = [point for point in points if point["entities"] == entities]
        found.sort(key=lambda point: (point["state"] != "idle", list(READERS).index(point["reader"])))
        places = [n + (0.6 if point["state"] != "idle" else 0) for n, point in enumerate(found)]
        colours = [_colour(point["reader"]) for point in found]
        axes.bar(places, [point["p50"] for point in found], color=colours)
        above = [max(0.0, point["p99"] - point["p50"]) for point in found]
        axes.errorbar(places, [p["p50"] for p in found], [[0.0] * len(found), above], fmt="none", ecolor=INK, capsize=3)
        axes.set_xticks([1, 4.6], ["idle", "during a\nmaterialization"])
        axes.set_title(f"{entities} entit{'y' if entities == 1 else 'ies'}", fontsize=9)
        axes.set_ylim(bottom=0)
    panels[0].set_ylabel("ms; bar p50, whisker p99")
    shown = [Patch(color=_colour(reader)) for reader in READERS]
    figure.legend(shown, READERS.values(), loc="lower center", ncols=3, frameon=False, bbox_to_anchor=(0.5, -0.1))
    figure.tight_layout()
    return figure


READERS = {"ours": "ours", "stock": "stock Feast", "redis-py alone": "redis-py alone"}
PLOTS = {"a": ("materialize", _bars), "c": ("change", _line), "d": ("serving", _percentiles)}


if __name__ == "__main__":
    for drawing in draw(*map(Path, sys.argv[1:])):
        print(drawing)
