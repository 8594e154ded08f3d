"""Runs the benchmarks, prints a table and one JSON line for each comparison. `make bench ROWS=1000000 ROUNDS=3`."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.measure import Cost, Line, run, table
from tests.servers import RedisServer, start_redis

STOCK_ROWS = 100_000
"""Feast's own engine is linear and slow; a tenth of the rows gives its rate in a tenth of the time."""


def rounds(server: RedisServer, folder: Path, rows: int, count: int) -> dict[str, list[Cost]]:
    """Every contender in turn, `count` times over, so that a slow minute of the machine hits all alike."""
    costs: dict[str, list[Cost]] = {"pipe": [], "ours": [], "pipe-rewrite": [], "ours-rewrite": [], "stock": []}
    for number in range(count):
        for name, found in costs.items():
            if not name.endswith("-rewrite"):
                server.client().flushall()
            size = min(rows, STOCK_ROWS) if name == "stock" else rows
            contender = "pipe" if name == "pipe-rewrite" else name
            found.append(run("benchmarks.contenders", contender, str(folder), server.connection_string, str(size)))
            print(f"round {number + 1}: {name:13} {found[-1].rows_per_second:>10,.0f} rows/s", flush=True)
    return costs


def median(costs: list[Cost]) -> float:
    """The median of rows per second."""
    return statistics.median(cost.rows_per_second for cost in costs)


def report(costs: dict[str, list[Cost]]) -> str:
    """A table for people, then JSON lines."""
    rows = [
        (
            name,
            f"{median(found):,.0f}",
            f"{statistics.median(c.rows / c.cpu for c in found):,.0f}",
            f"{max(c.peak_mb for c in found):,.0f}",
        )
        for name, found in costs.items()
    ]
    rates = {name: median(found) for name, found in costs.items()}
    lines = [
        Line("materialize fresh vs stock", rates["ours"], rates["stock"], 12),
        Line("materialize fresh vs redis-cli --pipe", rates["ours"], rates["pipe"], 0.6),
        Line("materialize rewrite vs redis-cli --pipe", rates["ours-rewrite"], rates["pipe-rewrite"], 0.6),
    ]
    return "\n".join(
        [table(("contender", "rows/s", "rows per CPU s", "peak MB"), rows), "", *(line.to_json() for line in lines)]
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = start_redis(folder / "redis")
        try:
            for rows in {options.rows, min(options.rows, STOCK_ROWS)}:
                run("benchmarks.contenders", "table", str(folder), server.connection_string, str(rows))
            print(report(rounds(server, folder, options.rows, options.rounds)))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
