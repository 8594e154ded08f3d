"""A table and a Feast repository that know nothing of this project: definitions unchanged, only the yaml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from feast import FeatureStore
from redis import Redis

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError
from feast_lakehouse.materialize import materialize_view
from feast_lakehouse.view import View
from tests.servers import RedisServer

DAY = datetime(2020, 1, 1, tzinfo=UTC)
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Array, Float64, Int64, String

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
orders = FileSource(
    name="orders", path="../warehouse/orders", file_format=DeltaFormat(), timestamp_field="changed_at",
    field_mapping={"cust": "customer_id"},
)
spending = FeatureView(
    name="spending", entities=[customer], ttl=timedelta(days=0), source=orders, online=True,
    schema=[
        Field(name="customer_id", dtype=Int64), Field(name="total", dtype=Float64),
        Field(name="country", dtype=String), Field(name="year", dtype=Int64), Field(name="tags", dtype=Array(String)),
    ],
)
"""
YAML = """
project: shop
provider: local
entity_key_serialization_version: 3
registry: {{path: registry.db, serve_features_while_materializing: true}}
online_store:
  type: feast_lakehouse.online_store.LakehouseRedisOnlineStore
  connection_string: "{redis}"
offline_store: {{type: feast_lakehouse.offline_store.LakehouseOfflineStore}}
batch_engine: {{type: feast_lakehouse.engine.LakehouseEngine}}
"""
FEATURES = ("total", "country", "year", "tags")


def append(warehouse: Path, *rows: tuple[int, str, int, float, list[str], int]) -> None:
    """Rows (cust, country, year, total, tags, day) as a plain writer adds them."""
    names = ("cust", "country", "year", "total", "tags", "day")
    columns: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True))
    stamps = [DAY + timedelta(days=day) for day in columns.pop("day")]
    types = {"cust": pa.int32(), "year": pa.int32(), "tags": pa.list_(pa.string())}
    table = pa.table({n: pa.array(v, types.get(n)) for n, v in columns.items()})
    table = table.append_column("changed_at", pa.array(stamps, pa.timestamp("us", "UTC")))
    table = table.append_column("of_no_interest", pa.nulls(len(table), pa.string()))
    write_deltalake(str(warehouse / "orders"), table, mode="append", partition_by=["country", "year"])


def feast(folder: Path, *words: str) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "feast.cli.cli", *words]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_feasts_command_line_over_a_foreign_table(tmp_path: Path, redis_server: RedisServer, redis: Redis) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "feature_store.yaml").write_text(YAML.format(redis=redis_server.connection_string))
    append(tmp_path / "warehouse", (1, "de", 2019, 1.5, ["a"], 0), (2, "fr", 2019, 2.5, [], 0))
    append(tmp_path / "warehouse", (1, "fr", 2020, 9.5, ["b", "c"], 3), (3, "fr", 2020, 3.5, ["é"], 1))
    append(tmp_path / "warehouse", (1, "de", 2020, 4.5, ["late"], 2))
    feast(folder, "apply")
    feast(folder, "materialize-incremental", "2020-02-01T00:00:00")

    def served(*customers: int) -> list[tuple[Any, ...]]:
        store = FeatureStore(repo_path=str(folder))
        found = store.get_online_features(
            [f"spending:{name}" for name in FEATURES], [{"customer_id": c} for c in customers]
        ).to_dict()
        return list(zip(*(found[name] for name in FEATURES), strict=True))

    assert served(1, 2, 3, 4) == [
        (9.5, "fr", 2020, ["b", "c"]),
        (2.5, "fr", 2019, []),
        (3.5, "fr", 2020, ["é"]),
        (None,) * 4,
    ]
    append(tmp_path / "warehouse", (2, "de", 2018, 0.0, ["older"], -400), (4, "it", 2020, 7.0, [], -9))
    DeltaTable(str(tmp_path / "warehouse/orders")).delete("country = 'fr' AND year = 2020")
    DeltaTable(str(tmp_path / "warehouse/orders")).optimize.compact()
    feast(folder, "materialize-incremental", "2020-01-02T00:00:00")
    assert served(1, 2, 3, 4) == [
        (4.5, "de", 2020, ["late"]),
        (2.5, "fr", 2019, []),
        (None,) * 4,
        (7.0, "it", 2020, []),
    ]


VIEW = View("shop", "spending", (("cust", "int64"),), (("total", "float64"),), "changed_at")


def commit(table: Path, *actions: dict[str, Any]) -> None:
    """A commit by another writer, straight into the log."""
    version = DeltaTable(str(table)).version() + 1
    (table / f"_delta_log/{version:020}.json").write_text("\n".join(map(json.dumps, actions)))


def protocol(*features: str) -> dict[str, Any]:
    both = {"readerFeatures": list(features), "writerFeatures": list(features)}
    return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **both}}


@pytest.mark.parametrize(
    "feature", ["deletionVectors", "columnMapping", "typeWidening", "variantType", "rowsOfTomorrow"]
)
def test_a_table_with_features_readers_would_get_wrong_is_refused(feature: str, tmp_path: Path, redis: Redis) -> None:
    append(tmp_path, (1, "de", 2019, 1.5, ["a"], 0))
    commit(tmp_path / "orders", protocol(feature))
    with pytest.raises(DataError, match=feature) as caught:
        materialize_view(redis, VIEW, TableRef(str(tmp_path / "orders")))
    assert str(tmp_path / "orders") in str(caught.value)
    assert redis.keys() == []


def test_column_mapping_of_an_old_protocol_is_refused(tmp_path: Path, redis: Redis) -> None:
    append(tmp_path, (1, "de", 2019, 1.5, ["a"], 0))
    first = (tmp_path / "orders/_delta_log" / f"{0:020}.json").read_text().splitlines()
    metadata = next(action for action in map(json.loads, first) if "metaData" in action)
    metadata["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
    commit(tmp_path / "orders", {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}, metadata)
    with pytest.raises(DataError, match="columnMapping"):
        materialize_view(redis, VIEW, TableRef(str(tmp_path / "orders")))


def test_a_table_that_gets_deletion_vectors_later_is_refused_then(tmp_path: Path, redis: Redis) -> None:
    append(tmp_path, (1, "de", 2019, 1.5, ["a"], 0))
    materialize_view(redis, VIEW, TableRef(str(tmp_path / "orders")))
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    commit(tmp_path / "orders", protocol("deletionVectors"))
    with pytest.raises(DataError, match="deletionVectors"):
        materialize_view(redis, VIEW, TableRef(str(tmp_path / "orders")))
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before


def test_times_without_a_zone_are_utc(tmp_path: Path, redis: Redis) -> None:
    stamps = pa.array([DAY.replace(tzinfo=None)], pa.timestamp("us"))
    write_deltalake(str(tmp_path / "t"), pa.table({"cust": [1], "total": [1.5], "changed_at": stamps}))
    assert materialize_view(redis, VIEW, TableRef(str(tmp_path / "t"))).newest == int(DAY.timestamp()) * 1_000_000
