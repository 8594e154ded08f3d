"""One contender of the materialization benchmark per call: prepare, then time only the writing into Redis."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from deltalake import write_deltalake

from benchmarks.measure import Cost
from feature_pipelines.embedded import machine

FEATURES = 10
START = datetime(2020, 1, 1, tzinfo=UTC)
YAML = """
project: bench
provider: local
entity_key_serialization_version: 3
registry: {{path: {folder}/registry-{name}.db}}
online_store: {{type: {online}, connection_string: "{redis}"}}
offline_store: {{type: {offline}}}
batch_engine: {{type: {engine}}}
"""
OURS = {
    "online": "feast_lakehouse.online_store.LakehouseRedisOnlineStore",
    "offline": "feast_lakehouse.offline_store.LakehouseOfflineStore",
    "engine": "feast_lakehouse.engine.LakehouseEngine",
}
STOCK = {"online": "redis", "offline": "duckdb", "engine": "local"}


def make_table(folder: Path, rows: int) -> None:
    """`rows` distinct keys with ten float64 features and event times within eleven days, as Delta and as Parquet; seed 0."""
    if (folder / f"delta-{rows}").exists():
        return
    random = np.random.default_rng(0)
    micros = int(START.timestamp()) * 1_000_000 + random.integers(0, 10**12, rows)
    columns = {f"f{n}": random.random(rows) for n in range(FEATURES)}
    data = pa.table(
        {
            "id": pa.array([f"key-{n}" for n in range(rows)]),
            **columns,
            "ts": pa.array(micros, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(data, folder / f"{rows}.parquet")
    write_deltalake(str(folder / f"delta-{rows}"), data)


def feast_store(folder: Path, redis: str, rows: int, *, ours: bool) -> Any:
    """A Feast store over the table, in our configuration or in Feast's own."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.data_format import DeltaFormat
    from feast.types import Float64, String

    name = "ours" if ours else "stock"
    yaml = folder / f"{name}.yaml"
    yaml.write_text(YAML.format(folder=folder, name=name, redis=redis, **(OURS if ours else STOCK)))
    entity = Entity(name="id", join_keys=["id"], value_type=ValueType.STRING)
    schema = [Field(name="id", dtype=String), *(Field(name=f"f{n}", dtype=Float64) for n in range(FEATURES))]
    path = str(folder / (f"delta-{rows}" if ours else f"{rows}.parquet"))
    source = FileSource(name="source", path=path, timestamp_field="ts", file_format=DeltaFormat() if ours else None)
    store = FeatureStore(repo_path=str(folder), fs_yaml_file=yaml)
    store.apply([entity, FeatureView(name="v", entities=[entity], schema=schema, source=source, ttl=timedelta(0))])
    return store


def timed(work: Callable[[], object], rows: int, process: int = resource.RUSAGE_SELF) -> Cost:
    """Wall and CPU seconds of the work, and the peak memory of the whole process so far."""
    before, started = resource.getrusage(process), time.monotonic()
    work()
    wall, after = time.monotonic() - started, resource.getrusage(process)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, after.ru_maxrss / 1024, rows)


def ours(folder: Path, redis: str, rows: int, *, rewrite: bool) -> Cost:
    """Our engine; `rewrite` writes every key again over what is there."""
    from feast_lakehouse.engine import materialize

    store = feast_store(folder, redis, rows, ours=True)
    return timed(lambda: materialize(store, "v", rebuild="benchmark" if rewrite else ""), rows)


def stock(folder: Path, redis: str, rows: int) -> Cost:
    """Feast's local engine and Redis store as they come."""
    store = feast_store(folder, redis, rows, ours=False)
    return timed(lambda: store.materialize(START - timedelta(days=1), START + timedelta(days=60)), rows)


def pipe(folder: Path, redis: str, rows: int) -> Cost:
    """`redis-cli --pipe` of the very commands our engine sends: what the wire and the server allow without any guard."""
    from feast_lakehouse.resp import encode_writes, wire
    from feast_lakehouse.view import View

    view = View("bench", "v", (("id", "string"),), tuple((f"f{n}", "float64") for n in range(FEATURES)), "ts")
    commands = folder / f"{rows}.resp"
    if not commands.exists():
        with commands.open("wb") as out:
            for batch in pads.dataset(folder / f"{rows}.parquet").to_batches(batch_size=20_000):
                micros = batch.column("ts").cast(pa.int64())
                encoded = encode_writes(view, batch.append_column("__micros", micros), generation=1, version=1)
                out.write(wire(encoded.changes))
    host, port = redis.split(":")
    cli = Path(machine.redis_server()).with_name("redis-cli")

    def send() -> None:
        with commands.open("rb") as source:
            subprocess.run([str(cli), "-h", host, "-p", port, "--pipe"], stdin=source, check=True, capture_output=True)

    return timed(send, rows, resource.RUSAGE_CHILDREN)


def main() -> None:
    """`python -m benchmarks.contenders NAME FOLDER HOST:PORT ROWS` prints the Cost as JSON."""
    name, folder, redis, rows = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    make_table(folder, rows)
    contenders: dict[str, Callable[[], Cost]] = {
        "ours": lambda: ours(folder, redis, rows, rewrite=False),
        "ours-rewrite": lambda: ours(folder, redis, rows, rewrite=True),
        "stock": lambda: stock(folder, redis, rows),
        "pipe": lambda: pipe(folder, redis, rows),
        "table": lambda: timed(lambda: None, rows),
    }
    print(json.dumps(asdict(contenders[name]())))


if __name__ == "__main__":
    main()
