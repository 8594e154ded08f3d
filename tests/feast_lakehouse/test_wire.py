"""The engine's own conversation with Redis: never a connection other than the one it watches on, and in one protocol."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from feast.protos.feast.types.Value_pb2 import Value
from redis import Redis

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import TransportError
from feast_lakehouse.materialize import Run, materialize_view
from feast_lakehouse.verify import verify_view
from feast_lakehouse.view import View
from feast_lakehouse.wire import borrow
from tests.servers import RedisServer

VIEW = View("p", "v", (("id", "string"),), (("x", "int64"),), "ts")


def put(ref: TableRef, *rows: tuple[str, int, int]) -> None:
    """Rows of key, day, value."""
    ids, days, values = zip(*rows, strict=True)
    stamps = pa.array([datetime(2020, 1, day, tzinfo=UTC) for day in days], pa.timestamp("us", "UTC"))
    write_deltalake(ref.uri, pa.table({"id": ids, "ts": stamps, "x": values}), mode="append")


def online(redis: Redis) -> list[int]:
    """The values of all keys, in order."""
    cells = [redis.hget(key, VIEW.fields[0]) for key in redis.scan_iter(_type="HASH")]
    return sorted(Value.FromString(cell).int64_val for cell in cells if cell)  # type: ignore[arg-type]


def test_a_client_closed_in_mid_run_stops_the_run_before_another_write(
    tmp_path: Path, redis: Redis, redis_server: RedisServer
) -> None:
    ref, late = TableRef(str(tmp_path / "t")), redis_server.client()
    put(ref, ("a", 1, 1))
    materialize_view(redis, VIEW, ref)
    put(ref, ("a", 2, 2))

    def overtaken(step: str) -> None:
        if step == "exec":
            put(ref, ("a", 3, 3))
            materialize_view(redis, VIEW, ref)
            late.close()  # as any thread may that shares the client

    with pytest.raises(TransportError, match="connection lost"):
        materialize_view(late, VIEW, ref, run=Run(step=overtaken, attempts=1))
    assert online(redis) == [3]
    assert verify_view(redis, VIEW, ref).compared == 1


def test_a_wire_whose_connection_was_closed_here_neither_sends_nor_receives(redis: Redis) -> None:
    with borrow(redis) as wire:
        redis.connection_pool.disconnect()
        with pytest.raises(TransportError, match="lost while sending"):
            wire.send(b"PING\r\n")
        with pytest.raises(TransportError, match="lost while waiting"):
            wire.acknowledged(1)


@pytest.mark.parametrize("protocol", [2, 3, "3"])
def test_a_client_of_either_protocol_will_do(
    tmp_path: Path, redis: Redis, redis_server: RedisServer, protocol: int | str
) -> None:
    ref = TableRef(str(tmp_path / "t"))
    # A bound on a hang: of a protocol that it does not read, a run would wait for the end of a reply.
    with redis_server.client(protocol=protocol, socket_timeout=30) as client:
        for day in (1, 2):  # into an empty Redis, and then among keys that are there and keys that are not
            put(ref, ("a", day, day), (f"b{day}", day, day))
            materialize_view(client, VIEW, ref)
        assert verify_view(client, VIEW, ref).compared == 3
    assert online(redis) == [1, 2, 2]
