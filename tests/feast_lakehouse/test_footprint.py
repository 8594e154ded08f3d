"""Memory per key, against what the server says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from redis import Redis

from feast_lakehouse.delta import TableRef
from feast_lakehouse.footprint import Footprint, footprint
from feast_lakehouse.materialize import materialize_view
from feast_lakehouse.view import View

KEYS = 5000
FEATURES = tuple((f"x{i}", "float64") for i in range(10))


def put(redis: Redis, path: Path, *, project: str = "shop", keys: int = KEYS) -> View:
    columns = {name: pa.array([float(i) for i in range(keys)]) for name, _ in FEATURES}
    stamps = pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * keys, pa.timestamp("us", "UTC"))
    write_deltalake(str(path), pa.table({"id": list(range(keys)), "ts": stamps, **columns}))
    view = View(project, "v", (("id", "int64"),), FEATURES, "ts")
    materialize_view(redis, view, TableRef(str(path)))
    return view


def test_bytes_per_key_agree_with_the_servers_own_memory(tmp_path: Path, redis: Redis) -> None:
    before: Any = redis.info("memory")
    view = put(redis, tmp_path / "t")
    after: Any = redis.info("memory")
    found = footprint(redis, view)
    assert (found.keys, found.sampled) == (KEYS, 100)
    grown = (after["used_memory_dataset"] - before["used_memory_dataset"]) / KEYS
    assert found.bytes_per_key == pytest.approx(grown, rel=0.35)


def test_keys_of_others_are_not_counted(tmp_path: Path, redis: Redis) -> None:
    put(redis, tmp_path / "a", project="nonshop")
    view = put(redis, tmp_path / "b", keys=3)
    redis.set("something", "else")
    assert (footprint(redis, view).keys, footprint(redis, view).sampled) == (3, 3)


def test_nothing_online(redis: Redis) -> None:
    assert footprint(redis, View("shop", "v", (("id", "int64"),), FEATURES, "ts")) == Footprint(0, 0, None)
