"""A run makes way for those who read features from the same Redis, and only for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from redis import Redis

from feast_lakehouse import readers as readers_module
from feast_lakehouse.delta import TableRef
from feast_lakehouse.materialize import MaterializationReport, Run, materialize_view
from feast_lakehouse.pace import CHUNK_FIELDS, CHUNK_FIELDS_AMONG_READERS, Pace
from feast_lakehouse.readers import NAME, Readers
from feast_lakehouse.verify import verify_view
from feast_lakehouse.view import View
from tests.servers import RedisServer

VIEW = View("shop", "sales", (("id", "int64"),), (("a", "float64"), ("b", "float64")), "ts")
ROWS = 20_000


@pytest.fixture
def table(tmp_path: Path) -> TableRef:
    """Twenty thousand keys of two features."""
    ids = pa.array(range(ROWS), pa.int64())
    columns = {"id": ids, "a": ids.cast(pa.float64()), "b": ids.cast(pa.float64())}
    stamps = pa.array([1_600_000_000_000_000 + n for n in range(ROWS)], pa.timestamp("us", "UTC"))
    write_deltalake(tmp_path / "table", pa.table({**columns, "ts": stamps}))
    return TableRef(str(tmp_path / "table"))


@contextmanager
def reading(server: RedisServer) -> Iterator[None]:
    """Somebody reads a hash over and over."""
    stop, client = threading.Event(), server.client()

    def read() -> None:
        while not stop.wait(0.001):
            client.hmget("somebody", ["their", "fields"])

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()


def rebuild(client: Redis, table: TableRef, pace: Pace | None = None) -> MaterializationReport:
    report = materialize_view(client, VIEW, table, run=Run(pace or Pace()), rebuild="test")
    assert report.keys_written == ROWS
    return report


@pytest.fixture
def somebody(redis_server: RedisServer) -> Iterator[Redis]:
    """Somebody else's connection."""
    with redis_server.client() as client:
        yield client


def test_own_reads_are_nobody_elses(redis: Redis) -> None:
    readers = Readers(redis)
    for number in range(7):
        redis.hmget(f"key {number}", ["a"])
    readers.look(7)
    assert not readers.present


def test_somebody_elses_read_counts_until_it_has_been_quiet(
    redis: Redis, somebody: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = Readers(redis)
    somebody.hgetall("somebody's")
    readers.look(0)
    assert readers.present
    readers.look(0)
    assert readers.present, "they may come again"
    monkeypatch.setattr(readers_module, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(readers_module, "ASK_SECONDS", 0.0)
    somebody.hmget("somebody's", ["a"])
    readers.look(0)
    readers.look(0)
    assert not readers.present


def test_another_run_is_no_reader(redis: Redis, somebody: Redis) -> None:
    readers = Readers(redis)
    somebody.client_setname(NAME)
    somebody.hmget("a key of its view", ["a"])
    readers.look(0)
    assert not readers.present


def test_where_nobody_may_ask_who_is_connected_whoever_reads_counts(redis: Redis, somebody: Redis) -> None:
    redis.acl_setuser("narrow", enabled=True, nopass=True, keys=["*"], commands=["+info"])
    with Redis(**{**redis.get_connection_kwargs(), "username": "narrow", "password": "any"}) as narrow:
        readers = Readers(narrow)
        somebody.client_setname(NAME)
        somebody.hmget("a key of its view", ["a"])
        readers.look(0)
    redis.acl_deluser("narrow")
    assert readers.present


def test_a_run_with_nobody_beside_it_never_rests(
    redis: Redis, table: TableRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers_module, "LOOK_SECONDS", 0.0)
    assert rebuild(redis, table).rested == 0
    assert rebuild(redis, table).rested == 0, "nor because of its own reads"


def test_a_run_rests_most_of_the_time_while_somebody_reads(
    redis: Redis, redis_server: RedisServer, table: TableRef
) -> None:
    rebuild(redis, table)
    with reading(redis_server):
        report = rebuild(redis, table)
    assert 0.4 * report.seconds < report.rested < report.seconds


@pytest.mark.parametrize("chunk_rows", [ROWS, ROWS // 3])
def test_a_few_chunks_among_readers_all_arrive(
    redis: Redis, redis_server: RedisServer, table: TableRef, chunk_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers_module, "LOOK_SECONDS", 0.0)
    with reading(redis_server):
        for reason in ("of a fresh view", "of every key again"):
            report = materialize_view(redis, VIEW, table, run=Run(Pace(chunk_rows)), rebuild=reason)
            assert (report.keys_written, report.kept) == (ROWS, 0)
            assert verify_view(redis, VIEW, table, sample=ROWS).compared == ROWS


def test_two_runs_beside_each_other_never_rest(
    redis: Redis, redis_server: RedisServer, table: TableRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers_module, "LOOK_SECONDS", 0.0)
    other = replace(VIEW, name="others")

    def runs(view: View) -> list[MaterializationReport]:
        with redis_server.client() as client:
            return [materialize_view(client, view, table, run=Run(), rebuild="test") for _ in range(3)]

    with ThreadPoolExecutor(2) as threads:
        reports = [report for both in threads.map(runs, [VIEW, other]) for report in both]
    assert [report.rested for report in reports] == [0.0] * 6
    assert {verify_view(redis, view, table, sample=100).compared for view in (VIEW, other)} == {100}


def test_readers_need_not_come_first(redis: Redis, redis_server: RedisServer, table: TableRef) -> None:
    with reading(redis_server):
        assert rebuild(redis, table, Pace(readers_first=False)).rested == 0


def test_chunks_are_smaller_among_readers_unless_their_size_is_given() -> None:
    assert Pace().rows_of_a_chunk(VIEW, among_readers=False) == CHUNK_FIELDS // VIEW.width
    assert Pace().rows_of_a_chunk(VIEW, among_readers=True) == CHUNK_FIELDS_AMONG_READERS // VIEW.width
    assert Pace(chunk_rows=7).rows_of_a_chunk(VIEW, among_readers=True) == 7
