"""One contender of the materialization benchmarks per call: prepare, then time only the writing into Redis."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.data import FEATURES, START
from benchmarks.measure import Cost, timed
from benchmarks.processes import timed_with_children
from benchmarks.stores import PROJECT, VIEW, feast_store
from feature_pipelines.embedded import machine

BATCH_ROWS = 20_000
SETTLED = timedelta(0)


def _table(folder: Path, rows: int) -> Path:
    return folder / f"distinct-{rows}-{FEATURES}"


def ours(folder: Path, redis: str, rows: int, *, rewrite: bool) -> Cost:
    """Our engine; `rewrite` writes every key again over what is there."""
    from feast_lakehouse.engine import materialize

    store = feast_store(
        folder / "ours", "ours", redis=redis, table=_table(folder, rows), features=FEATURES, ttl=SETTLED
    )
    return timed(lambda: materialize(store, VIEW, rebuild="benchmark" if rewrite else ""), rows)


def stock(folder: Path, redis: str, rows: int, *, kind: str) -> Cost:
    """One of Feast's own engines with its own Redis store. Raises RuntimeError unless every key arrived."""
    store = feast_store(folder / kind, kind, redis=redis, table=_table(folder, rows), features=FEATURES, ttl=SETTLED)
    count = timed
    if kind == "stock spark":
        # The session is started beforehand, as our imports are; what its Python workers import is not.
        _spark_session(store)
        count = timed_with_children
    cost = count(lambda: store.materialize(START - timedelta(days=1), START + timedelta(days=60)), rows)
    arrived = _client(redis).dbsize()
    if arrived != rows:
        raise RuntimeError(f"{kind}: expected {rows} keys in Redis, found {arrived}")
    return cost


def _spark_session(store: Any) -> None:
    from feast.infra.compute_engines.spark.utils import get_or_create_new_spark_session

    get_or_create_new_spark_session(store.config.batch_engine.spark_conf).range(1).count()


def _client(redis: str) -> Any:
    from redis import Redis

    host, port = redis.split(":")
    return Redis(host=host, port=int(port))


def _view() -> Any:
    from feast_lakehouse.view import View

    return View(PROJECT, VIEW, (("id", "string"),), tuple((f"f{n}", "float64") for n in range(FEATURES)), "ts")


def make_commands(folder: Path, rows: int) -> Cost:
    """The commands the engine would send, made beforehand: as bytes for redis-cli, as Arrow cells for the guard."""
    import pyarrow.parquet as pq

    from feast_lakehouse.resp import encode_writes, wire

    with ExitStack() as stack:
        plain, guarded = (
            stack.enter_context(_stream(folder, rows, guarded=which).open("wb")) for which in (False, True)
        )
        cells: Any = None
        for batch in pq.ParquetFile(_table(folder, rows).with_suffix(".parquet")).iter_batches(BATCH_ROWS):
            micros = batch.column("ts").cast(pa.int64())
            encoded = encode_writes(_view(), batch.append_column("__micros", micros), generation=1, version=1)
            plain.write(wire(encoded.changes))
            guarded.writelines(_guarded(encoded))
            prebuilt = pa.record_batch({part.name: pa.array(getattr(encoded, part.name)) for part in fields(encoded)})
            cells = cells or stack.enter_context(pa.ipc.new_file(str(folder / f"{rows}.arrow"), prebuilt.schema))
            cells.write_batch(prebuilt)
    return timed(lambda: None, rows)


def _stream(folder: Path, rows: int, *, guarded: bool) -> Path:
    """What `redis-cli --pipe` is fed with."""
    return folder / f"{rows}{'-guarded' if guarded else ''}.resp"


def _guarded(encoded: Any) -> Iterator[bytes | memoryview]:
    """What the guard sends for a batch of keys that are there, as if it need not wait for an answer before it writes."""
    from feast_lakehouse.guard import EXEC, MULTI
    from feast_lakehouse.pace import Pace
    from feast_lakehouse.record import RecordKeys
    from feast_lakehouse.resp import command, read_commands, wire

    view = _view()
    keys, size = RecordKeys.of(view), Pace().rows_of_a_chunk(view, among_readers=False)
    for start in range(0, len(encoded), size):
        yield command(b"WATCH", keys.claim, keys.pushes) + command(b"GET", keys.claim)
        yield read_commands(view, encoded.bulks.slice(start, size))
        yield MULTI
        yield wire(encoded.changes.slice(start, size))
        yield command(b"INCRBY", keys.count, b"0") + EXEC


def guard(folder: Path, redis: str, rows: int, *, rewrite: bool) -> Cost:
    """Our guarded writer fed with prebuilt commands: no Delta, no DuckDB, no encoding. The claim is taken beforehand."""
    from feast_lakehouse import record
    from feast_lakehouse.guard import LANES, GuardedWriter
    from feast_lakehouse.newest_wins import Rule
    from feast_lakehouse.pace import Pace
    from feast_lakehouse.readers import Readers
    from feast_lakehouse.wire import borrow

    client, view, generation = _client(redis), _view(), 2 if rewrite else 1
    seen = record.read(client, view)
    intent = record.Record(generation, "bench", view.layout, None, frozenset({0}))
    claim = record.take_claim(client, view, seen, intent, 0)
    with ExitStack() as stack:
        wires = [stack.enter_context(borrow(client)) for _ in range(LANES)]
        writer = GuardedWriter(wires, view, claim, pace=Pace(), step=lambda _: None, readers=Readers(client))
        cost = timed(lambda: writer.write(_prebuilt(folder / f"{rows}.arrow"), Rule.SETTLE), rows)
    if writer.tally.written != rows:
        raise RuntimeError(f"guard: expected {rows} rows written, found {writer.tally}")
    return cost


def _prebuilt(path: Path) -> Iterator[Any]:
    from feast_lakehouse.resp import Commands

    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for n in range(reader.num_record_batches):
            batch = reader.get_batch(n)
            parts = {name: batch.column(name) for name in batch.schema.names}
            yield Commands(**{name: p.to_numpy() if p.type == pa.int64() else p for name, p in parts.items()})


def pipe(folder: Path, redis: str, rows: int, *, guarded: bool) -> Cost:
    """`redis-cli --pipe` of the very commands our engine sends: what the wire and the server allow without any guard.

    With `guarded`, of what our guard sends for a rewrite: what the server allows whoever reads before writing.
    """
    host, port = redis.split(":")
    command = [str(Path(machine.redis_server()).with_name("redis-cli")), "-h", host, "-p", port, "--pipe"]
    with _stream(folder, rows, guarded=guarded).open("rb") as source:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        told = subprocess.run(command, stdin=source, check=True, capture_output=True, text=True).stdout
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    counts = re.search(r"errors: (\d+), replies: (\d+)", told)
    errors, replies = map(int, counts.groups()) if counts else (0, 0)
    # A row is read and queued; a chunk of one row or more has WATCH, GET, MULTI, INCRBY and EXEC besides.
    expected = range(2 * rows + 5, 7 * rows + 1, 5) if guarded else [rows]
    if errors or replies not in expected:
        raise RuntimeError(f"redis-cli: expected {expected} replies without error, found {told}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, 0, rows)


def main() -> None:
    """`python -m benchmarks.contenders NAME FOLDER HOST:PORT ROWS` prints the Cost as JSON."""
    name, folder, redis, rows = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    contenders: dict[str, Callable[[], Cost]] = {
        "commands": lambda: make_commands(folder, rows),
        "ours": lambda: ours(folder, redis, rows, rewrite=False),
        "ours-rewrite": lambda: ours(folder, redis, rows, rewrite=True),
        "guard": lambda: guard(folder, redis, rows, rewrite=False),
        "guard-rewrite": lambda: guard(folder, redis, rows, rewrite=True),
        "pipe": lambda: pipe(folder, redis, rows, guarded=False),
        "pipe-rewrite": lambda: pipe(folder, redis, rows, guarded=False),
        "pipe-guarded-rewrite": lambda: pipe(folder, redis, rows, guarded=True),
    }
    cost = contenders[name]() if name in contenders else stock(folder, redis, rows, kind=name)
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
