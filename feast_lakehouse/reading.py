"""Hash fields of many keys in one round trip: what redis-py's pipeline does, without packing each field again for each key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from redis import Redis

from feast_lakehouse.resp import opening, words

Wanted = Sequence[tuple[bytes, Sequence[str | bytes]]]
"""(key, fields) pairs; neighbours that want the same fields best share one list of them."""


def read_hashes(client: Redis, wanted: Wanted) -> list[list[bytes | None]]:
    """The values of each pair's fields, None where a field is absent.

    On a broken connection all is asked again, as often as the client's retry allows. Raises redis-py's errors.
    """
    request = b"".join(_commands(wanted))
    connection: Any = client.connection_pool.get_connection()

    def ask() -> list[list[bytes | None]]:
        connection.send_packed_command([request])
        return [connection.read_response() for _ in wanted]

    try:
        return list(connection.retry.call_with_retry(ask, lambda _: connection.disconnect()))
    except BaseException:
        connection.disconnect()  # a reply that was not read must not meet the next user
        raise
    finally:
        client.connection_pool.release(connection)


def _commands(wanted: Wanted) -> Iterator[bytes]:
    last: Sequence[str | bytes] | None = None
    for key, fields in wanted:
        if fields is not last:
            last, (before, after) = fields, _around_key(tuple(fields))
        yield b"%b$%d\r\n%b\r\n%b" % (before, len(key), key, after)


@lru_cache(maxsize=1024)
def _around_key(fields: tuple[str | bytes, ...]) -> tuple[bytes, bytes]:
    """HMGET of these fields: what is before the key, and what after. A service asks for the same ones in every request."""
    named = [field.encode() if isinstance(field, str) else field for field in fields]
    return opening(2 + len(fields), b"HMGET"), words(*named)
