"""Rows of one key and one event time in a table that somebody else writes: one of them counts, and everywhere the same."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from redis import Redis

from feast_lakehouse import record
from feast_lakehouse.delta import TableRef
from feast_lakehouse.duck import Limits
from feast_lakehouse.errors import DataError
from feast_lakehouse.files import Files
from feast_lakehouse.materialize import Run, materialize_view
from feast_lakehouse.point_in_time import Join, Wanted
from feast_lakehouse.pull import Pull
from feast_lakehouse.sources import Source
from feast_lakehouse.tables import write_interval
from feast_lakehouse.verify import verify_view
from feast_lakehouse.view import View

DAY = datetime(2020, 1, 1, tzinfo=UTC)
KEYS = "abc"
VIEW = View("p", "v", (("id", "string"),), (("one", "int64"),), "ts")
FAR = [2**63 - 1, 2**63 - 2, -(2**63), -(2**63) + 1, 253_402_300_800_000_000, -62_135_596_800_000_001]
Row = tuple[str, int, int]
"""(key, event time in seconds after DAY, value)."""


def table(rows: list[Row]) -> pa.Table:
    moments = [DAY + timedelta(seconds=second) for _, second, _ in rows]
    return pa.table(
        {
            "id": pa.array([key for key, _, _ in rows], pa.string()),
            "ts": pa.array(moments, pa.timestamp("us", "UTC")),
            "one": pa.array([value for _, _, value in rows], pa.int64()),
        }
    )


def counting(ref: TableRef) -> dict[str, int]:
    """The value of each key's row that counts, by the documented rule."""
    found: dict[str, Any] = {}
    for path in sorted(DeltaTable(ref.uri).file_uris()):
        for n, row in enumerate(pq.read_table(path, partitioning=None).to_pylist()):
            order = (row["ts"], path, n)
            found[row["id"]] = max(found.get(row["id"], (order, row["one"])), (order, row["one"]))
    return {key: value for key, (_, value) in found.items()}


def key_of(name: str, value: Value) -> bytes:
    """As stock Feast makes it."""
    return _redis_key("p", EntityKey(join_keys=[name], entity_values=[value]))


def value_at(redis: Any, key: bytes) -> int | None:
    found = redis.hget(key, _mmh3("v:one"))
    return None if found is None else Value.FromString(found).int64_val


def online(redis: Redis) -> dict[str, int]:
    found = {key: value_at(redis, key_of("id", Value(string_val=key))) for key in KEYS}
    return {key: value for key, value in found.items() if value is not None}


def offline(ref: TableRef, created: str | None = None) -> dict[str, int]:
    entities = pa.table({"id": list(KEYS), "at": pa.array([DAY + timedelta(days=9)] * len(KEYS))})
    wanted = Wanted("v", Source("v", ref, ref.state(), "ts", created, {}), {"id": "id"}, {"one": "one"}, None)
    rows = Join(entities, "at", [wanted], Limits()).execute().to_pylist()
    return {row["id"]: row["one"] for row in rows if row["one"] is not None}


@pytest.mark.parametrize("seed", range(6))
def test_however_a_table_came_about_the_same_rows_count_online_and_in_training(
    seed: int, redis: Redis, tmp_path: Path
) -> None:
    draw, ref = random.Random(seed), TableRef(str(tmp_path / "t"))
    reasons = []
    for step in range(8):
        rows = [(draw.choice(KEYS), draw.randrange(2), 10 * step + n) for n in range(draw.randint(1, 3))]
        write_deltalake(ref.uri, table(rows), mode="append")
        if step and draw.random() < 0.3:
            DeltaTable(ref.uri).delete(f"one % 3 = {draw.randrange(3)}")
        reasons += [materialize_view(redis, VIEW, ref, run=Run(sample=0)).reason]
        assert online(redis) == offline(ref) == counting(ref)
    assert reasons == ["Redis has no record of the view", *[""] * 7]
    verify_view(redis, VIEW, ref, sample=None)


def test_only_files_of_the_same_time_are_looked_through_for_ties(redis: Redis, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    for day in range(3):
        write_deltalake(ref.uri, table([("a", day * 86_400, day)]), mode="append")
    materialize_view(redis, VIEW, ref)
    [first] = ref.state(0).files
    Path(ref.uri, first).unlink()  # whoever reads it fails
    write_deltalake(ref.uri, table([("b", 2 * 86_400, 4), ("c", 86_400, 5)]), mode="append")
    materialize_view(redis, VIEW, ref, run=Run(sample=0))
    assert online(redis) == {"a": 2, "b": 4, "c": 5}


def test_the_log_cuts_the_times_of_a_file_off_to_milliseconds(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    moment = 1_577_836_800_000_999
    stamp = pa.array([moment], pa.int64()).cast(pa.timestamp("us", "UTC"))
    write_deltalake(ref.uri, table([("a", 0, 1)]).set_column(1, "ts", stamp))
    files = Files.whole(ref, ref.state())
    assert files.between("ts", moment, moment) == files
    assert not files.between("ts", moment + 1_000, moment + 2_000).paths
    assert not files.between("ts", moment - 2_000, moment - 1_000).paths
    assert files.between("without_statistics", moment + 1_000, moment + 2_000) == files


def test_a_correction_of_an_interval_costs_no_look_at_other_files(redis: Redis, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    schema = table([]).schema
    for day, value in (("2020-01-01", 1), ("2020-01-02", 2)):
        rows = table([("a", 86_400 * value, value)])
        write_interval(ref, day, rows.to_batches(), schema=schema)
    materialize_view(redis, VIEW, ref)
    [first] = [path for path in ref.state().files if "2020-01-01" in path]
    Path(ref.uri, first).unlink()
    write_interval(ref, "2020-01-02", table([("a", 86_400 * 2, 3)]).to_batches(), schema=schema)
    materialize_view(redis, VIEW, ref, run=Run(sample=0))
    assert online(redis) == {"a": 3}


@pytest.mark.parametrize("micros", FAR)
@pytest.mark.parametrize("first", [True, False])
def test_event_times_that_feast_cannot_read_back_are_refused_before_anything_is_written(
    micros: int, *, first: bool, redis: Redis, tmp_path: Path
) -> None:
    ref = TableRef(str(tmp_path / "t"))
    if not first:
        write_deltalake(ref.uri, table([("a", 0, 1)]))
        materialize_view(redis, VIEW, ref)
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    moment = pa.array([micros], pa.int64()).cast(pa.timestamp("us", "UTC"))
    write_deltalake(ref.uri, table([("b", 0, 2)]).set_column(1, "ts", moment), mode="append")
    with pytest.raises(DataError, match=r"expected event times of the years 1 to 9999 in column 'ts'.* in 1 rows"):
        materialize_view(redis, VIEW, ref)
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before
    DeltaTable(ref.uri).delete("id = 'b'")
    write_deltalake(ref.uri, table([("c", 1, 3)]), mode="append")
    materialize_view(redis, VIEW, ref)
    assert online(redis) == ({"c": 3} if first else {"a": 1, "c": 3})


def test_the_first_and_the_last_event_time_that_feast_can_read_back_are_served(redis: Redis, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    moments = pa.array([-62_135_596_800_000_000, 253_402_300_799_999_999], pa.int64()).cast(pa.timestamp("us", "UTC"))
    write_deltalake(ref.uri, table([("a", 0, 1), ("b", 0, 2)]).set_column(1, "ts", moments))
    materialize_view(redis, VIEW, ref)
    assert online(redis) == {"a": 1, "b": 2}


def test_keys_that_are_times_are_told_apart_by_the_second_online_and_in_training(redis: Redis, tmp_path: Path) -> None:
    ref, view = TableRef(str(tmp_path / "t")), View("p", "v", (("at", "unix_timestamp"),), (("one", "int64"),), "ts")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    keys = [epoch + timedelta(milliseconds=m) for m in (-2000, -1900, -1100, -900, 0, 300, 999, 1000, 1999)]
    # The newest row of a second is not its last one, and stands in another file than the others.
    ages = dict(zip(keys, (1, 3, 2, 2, 3, 6, 5, 2, 1), strict=True))
    for half in (keys[::2], keys[1::2]):
        rows = [("", ages[key], round((key - epoch) / timedelta(milliseconds=1))) for key in half]
        moments = pa.array(half, pa.timestamp("us", "UTC"))
        write_deltalake(ref.uri, table(rows).set_column(0, "at", moments), mode="append")
    materialize_view(redis, view, ref)
    assert verify_view(redis, view, ref, sample=None).online_keys == 4
    newest = {-2: -2000, -1: -1900, 0: 300, 1: 1000}
    assert {n: value_at(redis, key_of("at", Value(unix_timestamp_val=n))) for n in newest} == newest
    entities = pa.table({"at": keys, "time": pa.array([DAY + timedelta(days=9)] * len(keys))})
    wanted = Wanted("v", Source("v", ref, ref.state(), "ts", None, {}), {"at": "at"}, {"one": "one"}, None)
    found = Join(entities, "time", [wanted], Limits()).execute().column("one").to_pylist()
    assert found == [newest[int(key.timestamp())] for key in keys]


def test_the_claim_is_free_after_a_refusal(redis: Redis, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    write_deltalake(
        ref.uri, table([("a", 0, 1)]).set_column(1, "ts", pa.array([2**62]).cast(pa.timestamp("us", "UTC")))
    )
    with pytest.raises(DataError, match="years 1 to 9999"):
        materialize_view(redis, VIEW, ref)
    assert record.read(redis, VIEW) == record.Seen(None, None)


def test_of_rows_with_one_event_time_the_one_created_last_counts(redis: Redis, tmp_path: Path) -> None:
    ref, view = TableRef(str(tmp_path / "t")), replace(VIEW, created="created")
    for rows in ([("a", 0, 1), ("a", 0, 3), ("a", 0, 2)], [("a", 0, 0), ("b", 0, 5)], [("b", 0, 4), ("b", 0, 6)]):
        created = [DAY + timedelta(seconds=value) if value else None for _, _, value in rows]
        stamps = pa.array(created, pa.timestamp("us", "UTC"))
        write_deltalake(ref.uri, table(rows).append_column("created", stamps), mode="append")
        materialize_view(redis, view, ref, run=Run(sample=0))
    assert online(redis) == offline(ref, created="created") == {"a": 3, "b": 6}
    verify_view(redis, view, ref, sample=None)


def test_when_rows_were_created_changes_the_layout_of_a_view_that_knows_it_alone() -> None:
    assert VIEW.layout == "bb7f56b5a9f8caaf"
    assert replace(VIEW, created="created").layout != VIEW.layout


def test_rows_that_lose_a_tie_are_no_reason_to_rebuild(redis: Redis, tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    for value in (1, 2):
        write_deltalake(ref.uri, table([(key, 0, value) for key in KEYS]), mode="append")
    materialize_view(redis, VIEW, ref)
    assert not any(materialize_view(redis, VIEW, ref).changed for _ in range(12))
    redis.delete(key_of("id", Value(string_val="a")))
    assert "missing online" in materialize_view(redis, VIEW, ref).reason


def test_the_row_that_feasts_own_engines_pull_is_the_one_that_counts(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    for value in range(6):
        write_deltalake(ref.uri, table([(key, 0, 2 * value + n) for key in KEYS for n in (0, 1)]), mode="append")
    pull = Pull(Source("v", ref, ref.state(), "ts", None, {}), ["id", "one", "ts"], None, None, Limits())
    rows = pull.job(newest_of=["id"]).to_arrow().to_pylist()
    assert {row["id"]: row["one"] for row in rows} == counting(ref)
