"""Many hashes in one round trip: right values, whatever the names hold, and a connection that breaks is replaced."""

from __future__ import annotations

import pytest
from redis import Redis, ResponseError

from feast_lakehouse.reading import read_hashes

ODD = "ü\r\n".encode()


def test_each_pair_gets_its_own_fields_in_order(redis: Redis) -> None:
    redis.hset("a", mapping={"one": b"1", ODD: b"\0\r\n$-1\r\n", "empty": b""})
    redis.hset("b\r\n", mapping={"one": b"2"})
    both, one = ["one", ODD, "empty", "none"], ["one"]
    found = read_hashes(redis, [(b"a", both), (b"b\r\n", both), (b"a", one), (b"nothing", one)])
    assert found == [[b"1", b"\0\r\n$-1\r\n", b"", None], [b"2", None, None, None], [b"1"], [None]]
    assert read_hashes(redis, []) == []


def test_a_connection_that_the_server_closed_is_replaced(redis: Redis) -> None:
    redis.hset("a", "one", b"1")
    own = redis.client_id()
    with Redis(**{**redis.get_connection_kwargs(), "db": 0}) as other:
        other.client_kill_filter(_id=str(own))
    assert read_hashes(redis, [(b"a", ["one"])]) == [[b"1"]]


def test_an_error_leaves_no_reply_for_the_next_reader(redis: Redis) -> None:
    redis.set("text", "no hash")
    redis.hset("a", "one", b"1")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        read_hashes(redis, [(b"text", ["one"]), (b"a", ["one"])])
    assert read_hashes(redis, [(b"a", ["one"])]) == [[b"1"]]
    assert redis.get("text") == b"no hash"
