"""What may happen to Redis or to the lake behind the engine's back, and that it is noticed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from feast.protos.feast.types.Value_pb2 import Value
from redis import Redis

from feast_lakehouse import record
from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import OnlineMismatch, TransportError, Unfinished
from feast_lakehouse.keys import key_cells
from feast_lakehouse.materialize import Run, materialize_view
from feast_lakehouse.pace import Pace
from feast_lakehouse.push import PushedRow, push_rows
from feast_lakehouse.record import RecordKeys
from feast_lakehouse.verify import verify_view
from feast_lakehouse.view import View
from tests.servers import RedisServer, start_redis

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
VIEW = View("p", "v", (("id", "string"),), (("one", "int64"),), "ts")
KEYS = 1000
Row = tuple[str, int, int]
"""Key, seconds after EPOCH, value."""


class KilledError(BaseException):
    """What a SIGKILL is to a process: nothing of ours may catch it."""


@pytest.fixture
def table(tmp_path: Path) -> TableRef:
    """A thousand keys."""
    ref = TableRef(str(tmp_path / "table"))
    put(ref, [(f"k{n}", 1, n) for n in range(KEYS)])
    return ref


def put(ref: TableRef, rows: list[Row], *, mode: Any = "append") -> None:
    columns = {
        "id": pa.array([key for key, _, _ in rows], pa.string()),
        "ts": pa.array([EPOCH + timedelta(seconds=at) for _, at, _ in rows], pa.timestamp("us", "UTC")),
        "one": pa.array([value for _, _, value in rows], pa.int64()),
    }
    write_deltalake(ref.uri, pa.table(columns), mode=mode)


def redis_key(key: str) -> bytes:
    name: bytes = key_cells([pa.array([key])], VIEW.keys, VIEW.project)[0].as_py()
    return name


def online(client: Redis, key: str) -> int | None:
    value: Any = client.hget(redis_key(key), VIEW.fields[0])
    return None if value is None else int(Value.FromString(value).int64_val)


def push(client: Redis, key: str, at: float, value: int) -> None:
    micros = int((EPOCH + timedelta(seconds=at)).timestamp() * 1_000_000)
    row = PushedRow(redis_key(key), micros, {"one": Value(int64_val=value).SerializeToString()})
    push_rows(client, VIEW, [row], now=micros)


def test_all_keys_compared_proves_that_none_is_lost_or_left_over(redis: Redis, table: TableRef) -> None:
    materialize_view(redis, VIEW, table)
    report = verify_view(redis, VIEW, table, sample=None)
    assert (report.counted, report.online_keys, report.compared) == (True, KEYS, KEYS)
    redis.delete(redis_key("k7"))
    with pytest.raises(
        OnlineMismatch, match=r"(?s)expected 1000 rows of this version in Redis, found 999.*missing online"
    ):
        verify_view(redis, VIEW, table, sample=None)


def test_rows_that_the_table_has_not_are_noticed_however_many_were_pushed(redis: Redis, table: TableRef) -> None:
    materialize_view(redis, VIEW, table)
    for n in range(30):
        push(redis, "k0", 9 + n, n)
    push(redis, "only pushed", 9, 9)
    assert verify_view(redis, VIEW, table, sample=None).pushed == 1
    copy: Any = redis.dump(redis_key("k1"))
    redis.restore(redis_key("left over"), 0, copy)
    redis.incr(RecordKeys.of(VIEW).count)
    with pytest.raises(OnlineMismatch, match="expected 999 rows of this version in Redis, found 1000"):
        verify_view(redis, VIEW, table, sample=None)


def test_rows_of_an_earlier_generation_are_noticed(redis: Redis, table: TableRef) -> None:
    materialize_view(redis, VIEW, table)
    copy: Any = redis.dump(redis_key("k1"))
    materialize_view(redis, VIEW, table, rebuild="test")
    redis.restore(redis_key("left over"), 0, copy)
    with pytest.raises(OnlineMismatch, match="expected no rows of an earlier generation in Redis, found 1"):
        verify_view(redis, VIEW, table, sample=None)


def test_many_differences_are_counted_and_a_few_are_named(redis: Redis, table: TableRef) -> None:
    materialize_view(redis, VIEW, table)
    redis.delete(*(redis_key(f"k{n}") for n in range(100)))
    with pytest.raises(OnlineMismatch, match="101 differences online") as told:
        verify_view(redis, VIEW, table, sample=None)
    assert str(told.value).count("missing online") == 9


def test_the_tables_newest_version_is_told_beside_the_one_held(redis: Redis, table: TableRef) -> None:
    materialize_view(redis, VIEW, table)
    put(table, [("k1", 2, 2)])
    report = verify_view(redis, VIEW, table)
    assert (report.version, report.newest_version) == (0, 1)


def test_a_run_that_moves_the_record_meanwhile_is_no_mismatch(
    redis: Redis, table: TableRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast_lakehouse import verify

    materialize_view(redis, VIEW, table)
    read = verify.read_fields

    def beside_a_run(*arguments: Any) -> list[list[bytes | None]]:
        monkeypatch.setattr(verify, "read_fields", read)
        put(table, [(f"k{n}", 2, -n) for n in range(KEYS)])
        materialize_view(redis, VIEW, table)
        return read(*arguments)

    monkeypatch.setattr(verify, "read_fields", beside_a_run)
    with pytest.raises(TransportError, match="a run was at work"):
        verify_view(redis, VIEW, table)
    assert verify_view(redis, VIEW, table).version == 1


def test_a_view_deleted_during_a_run_stays_deleted(redis: Redis, table: TableRef) -> None:
    materialize_view(redis, VIEW, table)
    put(table, [(f"k{n}", 2, -n) for n in range(KEYS)])
    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        if len(steps) == 4:
            record.drop(redis, VIEW)
            redis.delete(*(redis_key(f"k{n}") for n in range(KEYS)))

    with pytest.raises(TransportError, match="the view was taken out of Redis while this run was at work"):
        materialize_view(redis, VIEW, table, run=Run(Pace(chunk_rows=100), step=step))
    assert len(steps) >= 4
    assert redis.keys() == []


def test_a_lake_restored_from_a_backup_reuses_version_numbers(redis: Redis, table: TableRef, tmp_path: Path) -> None:
    shutil.copytree(table.uri, tmp_path / "backup")
    put(table, [("k1", 5, 111)])
    materialize_view(redis, VIEW, table)
    shutil.rmtree(table.uri)
    shutil.copytree(tmp_path / "backup", table.uri)
    put(table, [("k2", 5, 222)])
    report = materialize_view(redis, VIEW, table)
    assert "version 1 is made of other files than when Redis was filled from it" in report.reason
    assert (online(redis, "k1"), online(redis, "k2")) == (1, 222)
    assert verify_view(redis, VIEW, table, sample=None).version == 1
    assert not materialize_view(redis, VIEW, table).changed


@pytest.fixture
def saved_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path / "redis", "--save", "3600", "1")
    yield server
    server.stop()


def killed_in_mid_run(client: Redis, ref: TableRef) -> None:
    """One more row is published, and the run that brings it online dies before it has written."""
    put(ref, [("k0", 2, 7)])

    def step(name: str) -> None:
        if name == "exec":
            raise KilledError

    with pytest.raises(KilledError):
        materialize_view(client, VIEW, ref, run=Run(step=step))


def test_a_server_started_anew_in_the_middle_of_a_run_is_not_trusted(
    table: TableRef, saved_server: RedisServer
) -> None:
    materialize_view(saved_server.client(), VIEW, table)
    killed_in_mid_run(saved_server.client(), table)
    with pytest.raises(Unfinished):
        verify_view(saved_server.client(), VIEW, table)
    saved_server.client().delete(*(redis_key(f"k{n}") for n in range(500, KEYS)))
    saved_server.restart()
    report = materialize_view(saved_server.client(), VIEW, table)
    assert report.reason == "Redis was started anew in the middle of a run"
    assert verify_view(saved_server.client(), VIEW, table, sample=None).online_keys == KEYS


def test_a_run_that_dies_after_a_restart_is_finished_and_not_begun_anew(
    table: TableRef, saved_server: RedisServer
) -> None:
    materialize_view(saved_server.client(), VIEW, table)
    saved_server.restart()
    killed_in_mid_run(saved_server.client(), table)
    report = materialize_view(saved_server.client(), VIEW, table)
    assert (report.reason, report.keys_written) == ("", 1)


def test_after_a_restart_every_row_is_counted(table: TableRef, saved_server: RedisServer) -> None:
    materialize_view(saved_server.client(), VIEW, table)
    lost = [f"k{n}" for n in range(5)]
    saved_server.client().delete(*map(redis_key, lost))
    saved_server.restart()
    report = materialize_view(saved_server.client(), VIEW, table)
    assert "expected 1000 rows of this version in Redis, found 995" in report.reason
    assert [online(saved_server.client(), key) for key in lost] == [0, 1, 2, 3, 4]
