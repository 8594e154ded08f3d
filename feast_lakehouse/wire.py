"""A plain, fast conversation with one Redis server: bytes out, parsed replies in, every error raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from feast_lakehouse.errors import DataError, TransportError

_RECEIVE_BYTES = 1 << 18
_REFUSALS = ("NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE")
_REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)


class Wire:
    """One connection, borrowed from a client's pool (so TLS, passwords and timeouts are the client's)."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._reader = hiredis.Reader(replyError=ResponseError)

    def send(self, *buffers: bytes | memoryview) -> None:
        """Write buffers to the server. Raises TransportError."""
        try:
            self._connection.send_packed_command([b"".join(buffers)], check_health=False)
        except (RedisError, OSError) as error:
            raise TransportError(f"Redis: connection lost while sending: {error}") from error

    def receive(self, count: int) -> list[Any]:
        """The next replies, in order. Raises at the first error reply: TransportError, or DataError when refused."""
        replies = [self._one() for _ in range(count)]
        for kind in set(map(type, replies)):
            if issubclass(kind, ResponseError):
                raise_reply(next(r for r in replies if isinstance(r, ResponseError)))
        return replies

    def _one(self) -> Any:
        reply = self._reader.gets()
        while reply is False:
            self._fill()
            reply = self._reader.gets()
        return reply

    def _fill(self) -> None:
        # redis-py parses replies one by one in Python; its socket read by hiredis directly is ten times faster.
        try:
            data = self._connection._sock.recv(_RECEIVE_BYTES)  # noqa: SLF001 — see above
        except (OSError, AttributeError) as error:
            raise TransportError(f"Redis: connection lost while waiting for replies: {error}") from error
        if not data:
            raise TransportError("Redis: the server closed the connection in the middle of a reply.")
        self._reader.feed(data)


def raise_reply(error: ResponseError) -> None:
    """Raise an error reply as the class of who has to act."""
    text = str(error)
    if text.startswith(_REFUSALS):
        raise DataError(f"Redis refused: {text}") from error
    raise TransportError(f"Redis answered with an error: {text}") from error


@contextmanager
def borrow(client: Redis) -> Iterator[Wire]:
    """A wire over a fresh connection of the client, closed afterwards so that no half-read reply meets another user."""
    try:
        connection: Any = client.connection_pool.get_connection()
    except _REFUSED as error:
        raise DataError(f"Redis refused: {error}") from error
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise TransportError(f"Redis cannot be reached: {error}") from error
    try:
        yield Wire(connection)
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)


@contextmanager
def reachable(what: str) -> Iterator[None]:
    """Turn redis-py's errors inside the block into ours; `what` says what was being done."""
    try:
        yield
    except _REFUSED as error:
        raise DataError(f"Redis refused: {what}: {error}") from error
    except ResponseError as error:
        raise_reply(error)
    except RedisError as error:
        raise TransportError(f"Redis: {what}: {error}") from error
