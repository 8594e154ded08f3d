"""Every benchmark at a tiny size, so that it cannot rot. How fast anything is, is not judged here."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import __main__ as command
from benchmarks import document, materializing, plots, serving
from benchmarks.machine import about
from benchmarks.measure import Line, Result, Table
from benchmarks.scene import Scene
from tests.servers import RedisServer

ROWS = 400
SPARK = "stock spark"


class Here(Scene):
    """Contenders run in this process, but Spark: importing Feast for each of them is most of a tiny benchmark."""

    def run(self, module: str, *arguments: object) -> Any:
        if SPARK in arguments:
            return super().run(module, *arguments)
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as told:
            patch.setattr(sys, "argv", [module, *map(str, arguments)])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as PYTHONWARNINGS does in a contender's own process
                importlib.import_module(f"benchmarks.{module}").main()
        return json.loads(told.getvalue().strip().splitlines()[-1])


def measured(letter: str, scene: Scene) -> Result:
    result: Result = importlib.import_module(f"benchmarks.{command.BENCHMARKS[letter]}").measure(scene)
    assert result.letter == letter
    assert result.title in str(result)
    assert result.points
    for line in result.lines:
        assert list(json.loads(line.to_json())) == ["name", "ours", "peer", "limit", "ratio"]
    return result


def line_of(result: Result, name: str) -> Line:
    return next(line for line in result.lines if name in line.name)


@pytest.fixture
def scene(redis: object, redis_server: RedisServer, tmp_path: Path) -> Scene:
    return Here(tmp_path, redis_server, ROWS, 1)


def test_a_materializing(scene: Scene) -> None:
    found = {point["contender"] for point in measured("a", scene).points}
    assert found == set(materializing.CONTENDERS.values())


def test_b_many_rows(scene: Scene) -> None:
    flights, distinct = measured("b", scene).table.rows
    assert flights[1] == distinct[1] == distinct[2] == ROWS * 10
    assert 1000 < float(flights[2] or 0) < 4043


def test_c_cost_against_change(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = importlib.import_module("benchmarks.changes")
    monkeypatch.setattr(changes, "INTERVALS", 12)
    monkeypatch.setattr(changes, "CHANGED", (1, 10))
    result = measured("c", scene)
    assert line_of(result, "rows read").ratio == pytest.approx(1 / 12)


def test_d_online_reads(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "READERS", {"ours": "ours", "stock": "stock"})
    assert len(measured("d", scene).points) == 2 * len(serving.ENTITIES) * 2


def test_e_training_set(scene: Scene) -> None:
    result = measured("e", scene)
    assert line_of(result, "rows out").ratio == 1
    assert line_of(result, "values equal").ratio == 1


def test_a_run_is_saved_drawn_and_documented(tmp_path: Path) -> None:
    saved, lines = tmp_path / "bench.jsonl", [Line("x", 3, 2, 2)]
    table = Table(("name",), [("nothing",)])
    bars = [{"contender": "ours", "rows_per_second": 2000, "peak_mb": 400.0}]
    runs = [{"name": f"{n} changed", "intervals": n, "seconds": n / 10} for n in (1, 10)]
    runs.append({"name": "full rebuild", "intervals": 365, "seconds": 9.0})
    times = [
        {"reader": reader, "state": state, "entities": n, "p50": 1.0, "p99": 2.0}
        for reader in plots.READERS
        for state in serving.STATES
        for n in serving.ENTITIES
    ]
    for letter, points in (("a", bars), ("c", runs), ("d", times), ("c", runs)):
        command.save(saved, [Result(letter, "t", table, lines, points)], {**about(), "rows": 10, "rounds": 1})
    records = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [one["benchmark"] for one in records].count("c") == len(runs) + 3
    drawn = plots.draw(saved, tmp_path / "drawn")
    assert [path.name for path in drawn] == ["materialize.svg", "change.svg", "serving.svg"]
    assert all(ET.parse(path).getroot().tag.endswith("svg") for path in drawn)
    copy = tmp_path / "benchmarks.md"
    copy.write_text(document.DOCUMENT.read_text())
    for _ in range(2):
        text = document.fill(saved, copy).read_text()
        assert text.count("| x | 3 | 2 | 1.5 | >= 2, **missed** |") == 3
        assert text.count("- (a) x: 1.5, wanted >= 2") == 1
        assert about()["machine"] in text


def test_a_document_without_a_place_is_refused(tmp_path: Path) -> None:
    saved, copy = tmp_path / "bench.jsonl", tmp_path / "benchmarks.md"
    copy.write_text("# Benchmarks")
    command.save(saved, [Result("a", "t", Table(("name",), []), [], [])], {**about(), "rows": 10, "rounds": 1})
    with pytest.raises(ValueError, match="<!-- a -->"):
        document.fill(saved, copy)


@pytest.mark.parametrize(
    ("line", "good", "bound"),
    [
        (Line("x", 3, 2, 1.5), True, ">= 1.5"),
        (Line("x", 3, 2, 1.6), False, ">= 1.6"),
        (Line("x", 3, 2, 1.5, at_most=True), True, "<= 1.5"),
        (Line("x", 3, 2, 1.4, at_most=True), False, "<= 1.4"),
        (Line("x", 3, 0, 1), True, ">= 1"),
    ],
)
def test_a_limit_bounds_the_ratio(*, line: Line, good: bool, bound: str) -> None:
    assert line.good is good
    assert line.cells()[-2:] == (bound, "" if good else "missed")


@pytest.mark.parametrize("arguments", [["--only", "ax"], ["--rows", "0"], ["--rounds", "0"]])
def test_nonsense_is_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit, match="2"):
        command.main()
