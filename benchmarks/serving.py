"""(d) `get_online_features`: how long a request takes, idle and while the same view is being materialized."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.measure import Line, Result, Table
from benchmarks.scene import Clock, Companion, Scene
from benchmarks.stores import VIEW, feast_store, feature_refs

TITLE = "get_online_features, 40 features of 1, 10, 100 entities: ms"
FEATURES = 40
ENTITIES = (1, 10, 100)
SECONDS = {1: 2.0, 10: 4.0, 100: 12.0}
"""How long each case is measured in each round, at a million rows; less for fewer. A p99 needs a thousand requests."""
SLICES = 8
"""A round's time is cut into so many turns, so that no reader has the machine at its best or worst for itself."""
STATES = ("idle", "during")
READERS = {"ours": "ours", "stock": "stock", "wire": "redis-py alone"}
"""`wire` sends the same HMGETs through redis-py without Feast: what the server and the client library take of it."""
TTL = timedelta(days=100_000)
"""Long enough to serve the table's old rows; set, so that our store does check it."""
LOWEST_PRIORITY = 19
PRICE = "rows/s of a materialization among readers / alone"
Times = dict[tuple[str, str, int], list[float]]


def measure(scene: Scene) -> Result:
    """All readers in turn, now while a writer rebuilds the view over and over, now while it is held up."""
    table = scene.run("data", "distinct", scene.folder, max(100, scene.rows // 10), FEATURES)
    scene.flush()
    writing = ("serving", "once", scene.folder / "serving-writer", scene.redis, table["path"])
    scene.run(*writing)
    alone = scene.run(*writing)
    times: Times = {(name, state, n): [] for name in READERS for state in STATES for n in ENTITIES}
    with ExitStack() as stack:
        readers = {name: stack.enter_context(_reader(scene, name, table)) for name in READERS}
        for reader in readers.values():
            reader.ready()
        writer = stack.enter_context(
            scene.beside("serving", "write", scene.folder / "serving-writer", scene.redis, table["path"])
        )
        writer.ready()
        for number in range(scene.rounds):
            _round(scene, number, readers, writer, times)
        among = writer.told()
    return _result(times, Line(PRICE, among, alone, 0.1))


def _reader(scene: Scene, name: str, table: dict[str, Any]) -> Any:
    return scene.beside("serving", name, scene.folder / f"serving-{name}", scene.redis, table["path"], table["rows"])


def _round(scene: Scene, number: int, readers: dict[str, Companion], writer: Companion, times: Times) -> None:
    """Every case idle and during in turn, so that a machine that becomes slower or faster does so for both."""
    share = min(1.0, max(0.05, scene.rows / 1_000_000)) / SLICES
    for turn in range(number * SLICES, (number + 1) * SLICES):
        for (name, reader), entities in product(readers.items(), ENTITIES):
            question = f"{entities} {SECONDS[entities] * share} {turn}"
            for state in STATES if turn % 2 else reversed(STATES):
                with writer.held_up() if state == "idle" else nullcontext():
                    times[name, state, entities] += reader.ask(question)
    for name, state in product(readers, STATES):
        shown = "  ".join(f"{n}: {_p(times[name, state, n], 99):.2f}" for n in ENTITIES)
        scene.say(f"round {number + 1}, {state:6}: {READERS[name]:15} p99 ms  {shown}")


def _p(times: list[float], percent: int) -> float:
    """The percentile of request times, ms."""
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


def _result(times: Times, price: Line) -> Result:
    head = ("reader", "entities", "idle p50", "idle p99", "during p50", "during p99", "requests")
    rows: list[tuple[str | float | None, ...]] = []
    points: list[dict[str, object]] = []
    for (name, state, n), found in times.items():
        points.append(
            {"reader": READERS[name], "state": state, "entities": n} | {f"p{p}": _p(found, p) for p in (50, 99)}
        )
        if state == "idle":
            during = times[name, "during", n]
            told = [_p(found, 50), _p(found, 99), _p(during, 50), _p(during, 99)]
            rows.append((READERS[name], str(n), *told, len(found) + len(during)))
    lines = [line for n in ENTITIES for line in _lines(times, n)]
    return Result("d", TITLE, Table(head, rows), [*lines, price], points)


def _lines(times: Times, n: int) -> list[Line]:
    """Ours against stock in all four columns, and how much slower a materialization makes our p99 (2 ms is the peer)."""
    compared = [_compared(times, n, state, percent) for state in STATES for percent in (50, 99)]
    above = _p(times["ours", "during", n], 99) - _p(times["ours", "idle", n], 99)
    return [*compared, Line(f"online read, {n} entities: p99 ms above idle, of 2", above, 2, 1, at_most=True)]


def _compared(times: Times, n: int, state: str, percent: int) -> Line:
    ours, stock = (_p(times[name, state, n], percent) for name in ("ours", "stock"))
    return Line(f"online read, {n} entities, {state}, p{percent} ms: ours / stock", ours, stock, 1, at_most=True)


def main() -> None:
    """`python -m benchmarks.serving once|write|ours|stock|wire FOLDER REDIS TABLE [KEYS]`."""
    role, folder, redis, table, *keys = sys.argv[1:]
    kind = "stock" if role == "stock" else "ours"
    store = feast_store(Path(folder), kind, redis=redis, table=Path(table), features=FEATURES, ttl=TTL)
    if role == "once":
        _tell(_rebuild(store, time.monotonic))
    elif role == "write":
        _write(store)
    else:
        _serve(_wire(store) if role == "wire" else _online(store), int(keys[0]))


def _write(store: Any) -> None:
    """Rebuild the view until killed; tells the rows per second of each, without the time it was held up.

    Its priority is the lowest: a materialization runs on a worker of Airflow, not on the cores of who serves.
    """
    from feast_lakehouse import readers

    os.nice(LOWEST_PRIORITY)
    clock = Clock()
    vars(readers)["time"] = clock
    while True:
        _tell(_rebuild(store, clock.monotonic))


def _rebuild(store: Any, now: Callable[[], float]) -> float:
    from feast_lakehouse.engine import materialize

    started = now()
    report = materialize(store, VIEW, rebuild="benchmark")
    return report.keys_written / (now() - started)


def _tell(rate: float) -> None:
    print(json.dumps(rate), flush=True)


def _online(store: Any) -> Callable[[list[str]], object]:
    refs = feature_refs(FEATURES)

    def read(ids: list[str]) -> object:
        return store.get_online_features(features=refs, entity_rows=[{"id": one} for one in ids])

    answer = store.get_online_features(features=refs, entity_rows=[{"id": "key-0"}]).to_dict()
    if None in answer["f0"]:
        raise RuntimeError("key-0 is not online")
    return read


def _wire(store: Any) -> Callable[[list[str]], object]:
    import pyarrow as pa

    from feast_lakehouse.engine import engine_of
    from feast_lakehouse.keys import key_cells

    client, view, _ = engine_of(store).parts(store.get_feature_view(VIEW))
    fields = [*view.fields, view.timestamp_field]

    def read(ids: list[str]) -> object:
        with client.pipeline(transaction=False) as pipe:
            for key in key_cells([pa.array(ids)], view.keys, view.project).to_pylist():
                pipe.hmget(key, fields)
            return pipe.execute()

    return read


def _serve(read: Callable[[list[str]], object], keys: int) -> None:
    """Answer each line `entities seconds seed` with the ms of every request in that time."""
    import gc
    import random

    # As servers do: what the imports left is never collected. Else each full collection stops a request for 150 ms.
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        entities, seconds, seed = line.split()
        chooser = random.Random(seed)  # noqa: S311 — which keys are asked for is no secret
        times: list[float] = []
        deadline = time.monotonic() + float(seconds)
        while time.monotonic() < deadline or len(times) < 5:  # noqa: PLR2004 — too few for a percentile
            ids = [f"key-{chooser.randrange(keys)}" for _ in range(int(entities))]
            started = time.perf_counter()
            read(ids)
            times.append((time.perf_counter() - started) * 1000)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
