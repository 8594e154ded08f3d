"""The engine's bytes in Redis against those of stock Feast, for every type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from feast.types import Array
from redis import Redis

from feast_lakehouse.delta import TableRef
from feast_lakehouse.encoding import ARROW
from feast_lakehouse.materialize import materialize_view
from feast_lakehouse.values import VALUE_TYPES
from feast_lakehouse.view import view_of
from tests.feast_lakehouse.golden_rows import VIEWS, GoldenView, config
from tests.feast_lakehouse.make_golden import FILE, golden, hashes
from tests.servers import RedisServer

GOLDEN: dict[str, Any] = json.loads(FILE.read_text())


def arrow_type(dtype: Any) -> pa.DataType:
    return pa.list_(ARROW[dtype.base_type.name.lower()]) if isinstance(dtype, Array) else ARROW[dtype.name.lower()]


def table(view: GoldenView) -> pa.Table:
    columns = {
        n: pa.array([row[n] for row in view.rows], arrow_type(t)) for n, t in {**view.keys, **view.features}.items()
    }
    return pa.table({**columns, "ts": pa.array([row["ts"] for row in view.rows], pa.timestamp("us", "UTC"))})


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_engine_writes_what_stock_feast_wrote(
    view: GoldenView, tmp_path: Path, redis_server: RedisServer, redis: Redis
) -> None:
    write_deltalake(str(tmp_path / "t"), table(view))
    described = view_of(config(redis_server.connection_string), view.feature_view(str(tmp_path / "t")))
    materialize_view(redis, described, TableRef(str(tmp_path / "t")))
    order = f"_order:{view.name}".encode().hex()
    bookkeeping = b"feast_lakehouse:".hex()
    found = {key: fields for key, fields in hashes(redis).items() if not key.startswith(bookkeeping)}
    assert [len(fields.pop(order)) for fields in found.values()] == [48] * len(view.rows)
    assert found == GOLDEN["views"][view.name]


def test_the_golden_file_is_what_the_installed_feast_writes(redis_server: RedisServer, redis: Redis) -> None:
    assert golden(redis, redis_server.connection_string) == GOLDEN


def test_the_golden_file_has_every_type(redis_server: RedisServer) -> None:
    views = [view_of(config(redis_server.connection_string), view.feature_view()) for view in VIEWS]
    assert {dtype for view in views for _, dtype in view.features} == VALUE_TYPES
