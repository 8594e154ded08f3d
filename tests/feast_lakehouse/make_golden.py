"""Writes golden/stock_feast.json: what Feast's own RedisOnlineStore makes of golden_rows in a real Redis.

python -m tests.feast_lakehouse.make_golden
"""

from __future__ import annotations

import json
import math
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Array, Float32, PrimitiveFeastType, String
from redis import Redis

from tests.feast_lakehouse.golden_rows import VIEWS, GoldenView, config
from tests.servers import start_redis

FILE = Path(__file__).parent / "golden/stock_feast.json"
Hashes = dict[str, dict[str, str]]


def _column(view: GoldenView, name: str, dtype: PrimitiveFeastType | Array) -> list[Value]:
    """A column's messages, converted whole as Feast does it: alone, an empty text would become null."""
    values = [row.get(name, DUMMY_ENTITY_VAL) for row in view.rows]
    protos: list[Value] = python_values_to_proto_values(values, dtype.to_value_type())
    return [_not_a_number(dtype) if _is_nan(v) else proto for v, proto in zip(values, protos, strict=True)]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _not_a_number(dtype: Any) -> Value:
    # Feast's conversion from Python makes NaN null; the message for NaN is protobuf's own.
    return Value(**{"float_val" if dtype == Float32 else "double_val": math.nan})


def _rows(view: GoldenView) -> list[Any]:
    keys = view.keys or {DUMMY_ENTITY_ID: String}
    identities = zip(*(_column(view, name, dtype) for name, dtype in keys.items()), strict=True)
    features = zip(*(_column(view, name, dtype) for name, dtype in view.features.items()), strict=True)
    return [
        (
            EntityKey(join_keys=list(keys), entity_values=key),
            dict(zip(view.features, values, strict=True)),
            row["ts"],
            None,
        )
        for key, values, row in zip(identities, features, view.rows, strict=True)
    ]


def hashes(client: Redis) -> Hashes:
    """Every hash in the database: key to field to value, in hexadecimal."""
    found: dict[str, dict[str, str]] = {}
    for key in client.scan_iter(_type="hash"):
        fields: Any = client.hgetall(key)
        found[key.hex()] = dict(sorted((field.hex(), value.hex()) for field, value in fields.items()))
    return dict(sorted(found.items()))


def stock_hashes(client: Redis, connection_string: str, view: GoldenView) -> Hashes:
    """What stock Feast writes for a view into the database, which is emptied first."""
    client.flushall()
    RedisOnlineStore().online_write_batch(config(connection_string), view.feature_view(), _rows(view), None)
    return hashes(client)


def golden(client: Redis, connection_string: str) -> dict[str, Any]:
    """The whole file."""
    views = {view.name: stock_hashes(client, connection_string, view) for view in VIEWS}
    return {"feast": version("feast"), "entity_key_serialization_version": 3, "project": "golden", "views": views}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = start_redis(Path(folder))
        try:
            made = golden(server.client(), server.connection_string)
        finally:
            server.stop()
    FILE.write_text(json.dumps(made, indent=1) + "\n")
    print(f"{FILE}: {sum(map(len, made['views'].values()))} rows by Feast {made['feast']}")  # noqa: T201
