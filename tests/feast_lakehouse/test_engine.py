"""The engine as a Feast user meets it: yaml, definitions, `materialize`, and stock reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.data_source import PushSource
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp
from redis import Redis

from feast_lakehouse.delta import TableRef
from feast_lakehouse.engine import materialize, online_state, verify
from feast_lakehouse.errors import DataError, OnlineMismatch, TransportError
from feast_lakehouse.materialize import materialize_view
from feast_lakehouse.online_store import LakehouseRedisOnlineStore
from feast_lakehouse.view import View, collisions, feature_field
from feature_pipelines.embedded.machine import free_port
from tests.servers import RedisServer, start_redis

DAY = datetime(2020, 1, 1, tzinfo=UTC)
YAML = """
project: {project}
provider: local
entity_key_serialization_version: 3
registry: {{path: registry.db, serve_features_while_materializing: true}}
online_store:
  type: feast_lakehouse.online_store.LakehouseRedisOnlineStore
  connection_string: "{redis}"
offline_store:
  type: feast_lakehouse.offline_store.LakehouseOfflineStore
  lakes: {{here: {lake}}}
batch_engine:
  type: feast_lakehouse.engine.LakehouseEngine
"""

ORIGIN = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
NUMBER = Entity(name="number", join_keys=["number"], value_type=ValueType.INT64)
TYPES = {"a": Int32, "b": Int64, "c": Float32, "d": Float64, "e": String, "f": Bytes, "g": Bool, "h": UnixTimestamp}
ARROW = {
    "a": pa.int32(), "b": pa.int64(), "c": pa.float32(), "d": pa.float64(),
    "e": pa.string(), "f": pa.binary(), "g": pa.bool_(), "h": pa.timestamp("us", "UTC"),
}  # fmt: skip
Rows = list[dict[str, Any]]


class Shop:
    """A Feast store in a folder, over one table with every scalar type and a composite key."""

    def __init__(self, folder: Path, redis: str, *, project: str = "shop", ttl: timedelta | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "feature_store.yaml").write_text(YAML.format(project=project, redis=redis, lake=folder / "lake"))
        self.store = FeatureStore(repo_path=str(folder))
        self.table = TableRef(str(folder / "lake/features/every"))
        source = FileSource(
            name="every", path="lake://here/features/every", file_format=DeltaFormat(), timestamp_field="ts"
        )
        schema = [Field(name=n, dtype=t) for n, t in {**TYPES, "origin": String, "number": Int64}.items()]
        push = PushSource(name="pushed", batch_source=source)
        self.view = FeatureView(name="every", entities=[NUMBER, ORIGIN], schema=schema, source=push, ttl=ttl)
        self.store.apply([ORIGIN, NUMBER, self.view, FeatureService(name="all", features=[self.view])])

    def put(self, rows: Rows, *, mode: Any = "overwrite") -> None:
        types = {"origin": pa.string(), "number": pa.int64(), "ts": pa.timestamp("us", "UTC"), **ARROW}
        write_deltalake(
            self.table.uri, pa.table({n: pa.array([r.get(n) for r in rows], t) for n, t in types.items()}), mode=mode
        )

    def get(self, *keys: tuple[int, str]) -> list[dict[str, Any]]:
        rows = [{"number": number, "origin": origin} for number, origin in keys]
        found = self.store.get_online_features([f"every:{n}" for n in TYPES], rows).to_dict()
        return [{name: found[name][i] for name in TYPES} for i in range(len(rows))]


def full(number: int, origin: str, value: int, *, day: int = 0) -> dict[str, Any]:
    """A row with every feature set."""
    features = dict(
        zip(
            TYPES,
            (value, -value, value / 4, value / 3, f"é{value}", bytes([value % 256, 0]), value % 2 == 0),
            strict=False,
        )
    )
    return {
        "number": number,
        "origin": origin,
        "ts": DAY + timedelta(days=day),
        **features,
        "h": DAY + timedelta(seconds=value),
    }


@pytest.fixture
def shop(tmp_path: Path, redis_server: RedisServer, redis: Redis) -> Shop:
    return Shop(tmp_path / "shop", redis_server.connection_string)


def served(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in TYPES}


def test_stock_reads_return_every_scalar_type(shop: Shop) -> None:
    shop.put([full(1, "JFK", 5), full(2, "ÜRÜ", 6)])
    report = materialize(shop.store, "every")
    assert (report.changed, report.version, report.keys_written) == (True, 0, 2)
    assert shop.get((1, "JFK"), (2, "ÜRÜ")) == [served(full(1, "JFK", 5)), served(full(2, "ÜRÜ", 6))]


def test_null_is_null_and_nan_is_nan(shop: Shop) -> None:
    shop.put([{"number": 1, "origin": "JFK", "ts": DAY, "d": math.nan, "c": math.inf}])
    materialize(shop.store, "every")
    (row,) = shop.get((1, "JFK"))
    assert math.isnan(row.pop("d"))
    assert row.pop("c") == math.inf
    assert set(row.values()) == {None}


def test_a_row_with_a_null_key_is_left_out(shop: Shop) -> None:
    shop.put([full(1, "JFK", 5), {**full(2, "LGA", 6), "origin": None}])
    assert materialize(shop.store, "every").keys_written == 1


def test_running_again_changes_nothing(shop: Shop, redis: Redis) -> None:
    shop.put([full(1, "JFK", 5)])
    materialize(shop.store, "every")
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    assert materialize(shop.store, "every").changed is False
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before


def test_late_corrected_and_retracted_rows_arrive(shop: Shop) -> None:
    shop.put([full(1, "JFK", 5, day=3), full(2, "JFK", 6, day=3), full(3, "JFK", 7, day=3)])
    materialize(shop.store, "every")
    shop.put([full(1, "JFK", 8, day=1), full(4, "JFK", 9, day=0)], mode="append")
    materialize(shop.store, "every")
    assert shop.get((1, "JFK"), (4, "JFK")) == [served(full(1, "JFK", 5, day=3)), served(full(4, "JFK", 9))]
    shop.put([full(1, "JFK", 8, day=1), full(2, "JFK", 66, day=3)])
    report = materialize(shop.store, "every")
    assert report.retracted == 2
    assert shop.get((1, "JFK"), (2, "JFK"), (3, "JFK")) == [
        served(full(1, "JFK", 8)),
        served(full(2, "JFK", 66)),
        dict.fromkeys(TYPES),
    ]
    assert verify(shop.store, "every").online_keys == 2


@pytest.mark.parametrize(("ttl", "early"), [(None, 2), (timedelta(days=30), 1), (timedelta(days=5), 0)])
def test_rows_dropped_before_their_ttl_are_announced(
    tmp_path: Path,
    redis_server: RedisServer,
    redis: Redis,
    caplog: pytest.LogCaptureFixture,
    ttl: timedelta,
    early: int,
) -> None:
    shop = Shop(tmp_path / "shop", redis_server.connection_string, ttl=ttl)
    shop.put([full(1, "JFK", 5), full(2, "JFK", 6, day=30)])
    shop.put([full(3, "JFK", 7, day=40)], mode="append")
    materialize(shop.store, "every")
    DeltaTable(shop.table.uri).delete("number < 3")
    report = materialize(shop.store, "every")
    assert (report.retracted, report.early) == (2, early)
    assert (f"{early} keys lost a row that the view's ttl would still have served" in caplog.text) == bool(early)


def test_a_correction_that_moves_an_event_time_is_announced_only_when_the_newest_is_lost(shop: Shop) -> None:
    for day, early in ((1, 0), (2, 0), (0, 1)):
        shop.put([full(1, "JFK", 5, day=day)])
        assert materialize(shop.store, "every").early == early


def test_feast_materialize_goes_through_the_engine(shop: Shop) -> None:
    shop.put([full(1, "JFK", 5)])
    shop.store.materialize(DAY, DAY + timedelta(days=9))
    shop.put([full(1, "JFK", 7, day=2)], mode="append")
    shop.store.materialize_incremental(DAY + timedelta(days=10))
    assert shop.get((1, "JFK")) == [served(full(1, "JFK", 7))]
    known = shop.store.registry.get_feature_view("every", "shop")
    assert known.materialization_intervals == [(DAY, DAY + timedelta(days=2))]
    assert known.state.name == "AVAILABLE_ONLINE"


def test_after_flushall_one_run_brings_everything_back(shop: Shop, redis: Redis) -> None:
    shop.put([full(n, "JFK", n) for n in range(2000)])
    materialize(shop.store, "every")
    redis.flushall()
    assert online_state(shop.store, "every").version is None
    assert materialize(shop.store, "every").keys_written == 2000
    assert verify(shop.store, "every", sample=2000).compared == 2000


def push(shop: Shop, *rows: dict[str, Any]) -> None:
    frame = pd.DataFrame([{**row, "ts": row["ts"]} for row in rows])
    shop.store.push("pushed", frame)


def test_a_newer_push_stays_and_an_older_one_is_ignored(shop: Shop) -> None:
    shop.put([full(1, "JFK", 5, day=2), full(2, "JFK", 6, day=2)])
    materialize(shop.store, "every")
    push(shop, full(1, "JFK", 50, day=3), full(2, "JFK", 60, day=1))
    materialize(shop.store, "every", rebuild="asked")
    assert [row["a"] for row in shop.get((1, "JFK"), (2, "JFK"))] == [50, 6]
    report = verify(shop.store, "every")
    assert (report.pushed, report.online_keys) == (1, 2)


def test_a_push_from_the_future_is_refused(shop: Shop) -> None:
    with pytest.raises(DataError, match="expected event times up to now, found 9999-01-01"):
        push(shop, {**full(1, "JFK", 5), "ts": datetime(9999, 1, 1, tzinfo=UTC)})


def test_a_row_written_by_a_stock_store_counts_as_a_push(shop: Shop, tmp_path: Path) -> None:
    shop.put([full(1, "JFK", 5, day=2), full(2, "JFK", 6, day=2)])
    materialize(shop.store, "every")
    ours = "feast_lakehouse.online_store.LakehouseRedisOnlineStore"
    yaml = tmp_path / "shop/stock.yaml"
    yaml.write_text((tmp_path / "shop/feature_store.yaml").read_text().replace(ours, "redis"))
    stock = FeatureStore(repo_path=str(tmp_path / "shop"), fs_yaml_file=yaml)
    stock.push("pushed", pd.DataFrame([full(1, "JFK", 50, day=3)]))
    materialize(shop.store, "every", rebuild="asked")
    assert [row["a"] for row in shop.get((1, "JFK"), (2, "JFK"))] == [50, 6]
    shop.put([full(1, "JFK", 51, day=4)], mode="append")
    materialize(shop.store, "every")
    assert shop.get((1, "JFK"))[0]["a"] == 51


def test_ttl_is_honoured_on_read(tmp_path: Path, redis_server: RedisServer, redis: Redis) -> None:
    shop = Shop(tmp_path / "shop", redis_server.connection_string, ttl=timedelta(days=2))
    now = datetime.now(UTC)
    shop.put(
        [{**full(1, "JFK", 5), "ts": now - timedelta(days=1)}, {**full(2, "JFK", 6), "ts": now - timedelta(days=3)}]
    )
    materialize(shop.store, "every")
    assert [row["a"] for row in shop.get((1, "JFK"), (2, "JFK"))] == [5, None]


def test_a_new_column_is_filled_for_every_key(shop: Shop) -> None:
    shop.put([full(1, "JFK", 5), full(2, "JFK", 6)])
    materialize(shop.store, "every")
    added = pa.table({"number": [3], "origin": ["JFK"], "ts": pa.array([DAY], pa.timestamp("us", "UTC")), "z": [1.5]})
    write_deltalake(shop.table.uri, added, mode="append", schema_mode="merge")
    view = FeatureView(
        name="every",
        entities=[NUMBER, ORIGIN],
        schema=[*shop.view.schema, Field(name="z", dtype=Float64)],
        source=shop.view.stream_source or shop.view.batch_source,
    )
    shop.store.apply([view])
    report = materialize(shop.store, "every")
    assert (report.reason, report.keys_written) == ("the view's schema or ttl changed", 3)


def test_a_removed_features_values_leave_redis(shop: Shop, redis: Redis) -> None:
    shop.put([full(1, "JFK", 5), full(2, "JFK", 6)])
    materialize(shop.store, "every")
    push(shop, full(2, "JFK", 7, day=1))
    secret = feature_field("every", "e")
    kept = [field for field in shop.view.schema if field.name != "e"]
    source = shop.view.stream_source or shop.view.batch_source
    shop.store.apply([FeatureView(name="every", entities=[NUMBER, ORIGIN], schema=kept, source=source)])
    report = materialize(shop.store, "every")
    assert (report.reason, report.keys_written, report.retracted) == ("the view's schema or ttl changed", 1, 0)
    rows = [key for key in redis.scan_iter() if b"origin" in key]
    assert [redis.hexists(key, secret) for key in rows] == [False, False]
    assert verify(shop.store, "every", sample=None).pushed == 1


def test_a_lost_key_is_noticed_and_repaired(shop: Shop, redis: Redis) -> None:
    shop.put([full(n, "JFK", n) for n in range(30)])
    materialize(shop.store, "every")
    lost = next(key for key in redis.scan_iter() if b"origin" in key)
    redis.delete(lost)
    with pytest.raises(OnlineMismatch, match="missing online"):
        verify(shop.store, "every")
    assert verify(shop.store, "every", repair=True).compared == 30


def test_a_changed_value_is_noticed_by_the_next_run(shop: Shop, redis: Redis) -> None:
    shop.put([full(n, "JFK", n) for n in range(30)])
    materialize(shop.store, "every")
    lost = next(key for key in redis.scan_iter() if b"origin" in key)
    field = next(field for field in redis.hkeys(lost) if len(field) == 4)
    redis.hset(lost, field, b"")
    report = materialize(shop.store, "every")
    assert "other bytes online" in report.reason
    verify(shop.store, "every")


def test_a_project_leaves_another_whose_name_ends_alike_alone(
    tmp_path: Path, redis_server: RedisServer, redis: Redis
) -> None:
    prod = Shop(tmp_path / "prod", redis_server.connection_string, project="prod")
    other = Shop(tmp_path / "nonprod", redis_server.connection_string, project="nonprod")
    for shop in (prod, other):
        shop.put([full(1, "JFK", 5)])
        materialize(shop.store, "every")
    prod.store.teardown()
    assert other.get((1, "JFK")) == [served(full(1, "JFK", 5))]
    assert all(b"nonprod" in key for key in redis.scan_iter())


def test_a_dropped_view_leaves_nothing(shop: Shop, redis: Redis) -> None:
    shop.put([full(1, "JFK", 5)])
    materialize(shop.store, "every")
    shop.store.apply([], objects_to_delete=[shop.store.get_feature_service("all"), shop.view], partial=False)
    assert redis.keys() == []


LISTS: dict[str, tuple[Any, list[Any], pa.DataType]] = {
    "a": (Int32, [1, -2], pa.int32()),
    "b": (Int64, [2**62, -(2**62)], pa.int64()),
    "c": (Float32, [0.5, math.inf], pa.float32()),
    "d": (Float64, [1 / 3, -0.0], pa.float64()),
    "e": (String, ["é", ""], pa.string()),
    "f": (Bytes, [b"\0", b""], pa.binary()),
    "g": (Bool, [True, False], pa.bool_()),
    "h": (UnixTimestamp, [DAY, DAY + timedelta(days=1)], pa.timestamp("us", "UTC")),
}


def test_stock_reads_return_lists_of_every_scalar_type(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feast_lakehouse.newest.BATCH_BYTES", 1)  # so every row is a batch of its own
    columns = {name: pa.array([v, [], None], pa.list_(kind)) for name, (_, v, kind) in LISTS.items()}
    stamps = pa.array([DAY] * 3, pa.timestamp("us", "UTC"))
    write_deltalake(str(tmp_path / "lists"), pa.table({"origin": ["a", "b", "c"], "ts": stamps, **columns}))
    view = FeatureView(
        name="lists",
        entities=[ORIGIN],
        schema=[Field(name="origin", dtype=String), *(Field(name=n, dtype=Array(t)) for n, (t, *_) in LISTS.items())],
        source=FileSource(name="lists", path=str(tmp_path / "lists"), file_format=DeltaFormat(), timestamp_field="ts"),
    )
    shop.store.apply([view])
    assert materialize(shop.store, "lists").keys_written == 3
    keys = [{"origin": origin} for origin in "abc"]
    found = shop.store.get_online_features([f"lists:{name}" for name in LISTS], keys).to_dict()
    assert {name: found[name] for name in LISTS} == {name: [v, [], None] for name, (_, v, _) in LISTS.items()}
    assert verify(shop.store, "lists").compared == 3


def test_types_that_cannot_be_kept_are_refused_at_apply(shop: Shop) -> None:
    schema = [Field(name="origin", dtype=String), Field(name="x", dtype=Array(Array(Int64)))]
    view = FeatureView(name="nested", entities=[ORIGIN], schema=schema, source=shop.view.batch_source)
    with pytest.raises(DataError, match="feature x: type list<list<int64>>, expected one of bool"):
        shop.store.apply([view])


def test_colliding_fields_are_named() -> None:
    def view(name: str, *features: str) -> View:
        return View("p", name, (("id", "string"),), tuple((f, "int64") for f in features), "ts")

    assert collisions([view("v", "f1", "f2"), view("w", "f1")]) == []
    same = View("p", "v", (("id", "string"),), (("a", "int64"),), "ts")
    other = View("p", "other", (("id", "string"),), (("b", "int64"),), "ts")
    other.__dict__["fields"] = same.fields
    assert "share the Redis hash field" in collisions([same, other])[0]


def test_a_server_that_evicts_any_key_is_refused_by_each_run_and_at_apply(
    redis_server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    shop = Shop(tmp_path / "shop", redis_server.connection_string)
    shop.put([full(1, "JFK", 5)])
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(DataError, match="found allkeys-lru"):
            materialize(shop.store, "every")
        with pytest.raises(DataError, match="found allkeys-lru"):
            Shop(tmp_path / "new", redis_server.connection_string)
        assert FeatureStore(repo_path=str(tmp_path / "new")).list_feature_views() == []
    finally:
        redis.config_set("maxmemory-policy", "noeviction")


def test_apply_needs_no_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(tmp_path / "shop", f"127.0.0.1:{free_port()}")
    assert [view.name for view in shop.store.list_feature_views()] == ["every"]
    assert "the next materialization asks again" in caplog.text


@pytest.mark.parametrize("setting", ["redis_type: redis_cluster", "key_ttl_seconds: 60"])
def test_what_the_engine_cannot_write_is_refused_at_apply(tmp_path: Path, setting: str) -> None:
    with pytest.raises(DataError, match=setting.partition(":")[0]):
        Shop(tmp_path / "shop", f'127.0.0.1:{free_port()}"\n  {setting}\n  username: "any')


def test_a_full_server_stops_the_run_and_the_record_says_attempted(tmp_path: Path) -> None:
    server = start_redis(tmp_path / "redis", "--maxmemory", "3mb")
    try:
        shop = Shop(tmp_path / "shop", server.connection_string)
        shop.put([full(n, "JFK", n) for n in range(20_000)])
        with pytest.raises(TransportError, match="OOM"):
            materialize(shop.store, "every")
        assert online_state(shop.store, "every").version is None
        server.client().config_set("maxmemory", "0")
        materialize(shop.store, "every")
        assert verify(shop.store, "every").table_keys == 20_000
    finally:
        server.stop()


def test_a_server_that_is_gone_is_a_transport_error(tmp_path: Path) -> None:
    server = start_redis(tmp_path / "redis")
    shop = Shop(tmp_path / "shop", server.connection_string)
    shop.put([full(1, "JFK", 5)])
    server.kill()
    with pytest.raises(TransportError):
        materialize(shop.store, "every")


@pytest.fixture
def saved_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path / "redis", "--save", "3600", "1")
    yield server
    server.stop()


def test_after_a_restart_what_was_saved_is_trusted_once_compared(tmp_path: Path, saved_server: RedisServer) -> None:
    shop = Shop(tmp_path / "shop", saved_server.connection_string)
    shop.put([full(n, "JFK", n) for n in range(100)])
    materialize(shop.store, "every")
    saved_server.restart()
    assert materialize(shop.store, "every").changed is False
    saved_server.restart()
    saved_server.client().delete(next(k for k in saved_server.client().scan_iter() if b"origin" in k))
    report = materialize(shop.store, "every")
    assert "missing online" in report.reason or "keys" in report.reason


@pytest.mark.parametrize("password", ["1e5", "true", "p=w", "naïve"])
def test_a_password_is_never_decoded(password: str) -> None:
    nodes, options = LakehouseRedisOnlineStore._parse_connection_string(f"h:6379,ssl=true,db=2,password={password}")
    assert nodes == [{"host": "h", "port": "6379"}]
    assert options == {"ssl": True, "db": 2, "password": password}


def test_a_view_without_an_entity(shop: Shop) -> None:
    shop.put([full(1, "JFK", 5), full(2, "LGA", 6, day=1)])
    schema = [Field(name=name, dtype=dtype) for name, dtype in TYPES.items()]
    view = FeatureView(name="newest", entities=[], schema=schema, source=shop.view.batch_source)
    shop.store.apply([view])
    assert materialize(shop.store, "newest").keys_written == 1
    found = shop.store.get_online_features(["newest:a", "newest:e"], [{"__dummy_id": ""}]).to_dict()
    assert (found["a"], found["e"]) == ([6], ["é6"])


def test_a_run_without_a_store(tmp_path: Path, redis: Redis) -> None:
    view = View("p", "v", (("id", "int64"),), (("x", "float64"),), "ts")
    table = pa.table({"id": [1], "x": [1.5], "ts": pa.array([DAY], pa.timestamp("us", "UTC"))})
    write_deltalake(str(tmp_path / "t"), table)
    assert materialize_view(redis, view, TableRef(str(tmp_path / "t"))).keys_written == 1
