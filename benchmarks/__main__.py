"""Runs the benchmarks one after the other, prints tables and a JSON line for each comparison, and saves them."""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import document, plots
from benchmarks.machine import about
from benchmarks.measure import Result
from benchmarks.scene import Scene
from tests.servers import start_redis

ROWS = 1_000_000
BENCHMARKS = {"a": "materializing", "b": "many_rows", "c": "changes", "d": "serving", "e": "training"}
SAVED = Path(".local/bench.jsonl")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", default="".join(BENCHMARKS), help="letters of the benchmarks to run, such as cd")
    parser.add_argument("--rows", type=int, default=ROWS, help="the size of (a); the others are scaled alike")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", type=Path, default=SAVED, help="where the JSON lines go")
    parser.add_argument(
        "--plots", action="store_true", help="draw docs/benchmarks and fill docs/benchmarks.md from them"
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.only) - set(BENCHMARKS)):
        parser.error(f"--only: expected letters of {''.join(BENCHMARKS)}, found {''.join(unknown)}")
    if options.rows < 1 or options.rounds < 1:
        parser.error("--rows and --rounds: expected 1 or more")
    told = {**about(), "rows": options.rows, "rounds": options.rounds}
    results = run(options.only, options.rows, options.rounds)
    save(options.save, results, told)
    print("\n".join(line.to_json() for result in results for line in result.lines))
    if options.plots:
        for path in (*plots.draw(options.save), document.fill(options.save)):
            print(path)


def run(letters: str, rows: int, rounds: int) -> list[Result]:
    """Each chosen benchmark, with one Redis for all and a scratch folder that goes away; tables are printed at once."""
    results = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        server = start_redis(Path(name) / "redis")
        scene = Scene(Path(name), server, rows, rounds)
        try:
            for letter in sorted(set(letters)):
                module, started = BENCHMARKS[letter], time.monotonic()
                print(f"({letter}) {module}", flush=True)
                measure: Callable[[Scene], Result] = importlib.import_module(f"benchmarks.{module}").measure
                results.append(measure(scene))
                print(f"  took {time.monotonic() - started:.0f} s\n\n{results[-1]}", flush=True)
        finally:
            server.stop()
    return results


def save(path: Path, results: list[Result], told: dict[str, object]) -> None:
    """One JSON line for each benchmark's machine, versions and sizes, then its table, points and comparisons.

    Benchmarks that were not run keep their lines of an earlier run.
    """
    run_now = {result.letter for result in results}
    earlier = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    kept = [json.dumps(line) for line in earlier if line["benchmark"] not in run_now]
    now = [json.dumps({"benchmark": letter, "about": told}) for letter in sorted(run_now)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*kept, *now, *(line for result in results for line in result.records())]) + "\n")


if __name__ == "__main__":
    main()
