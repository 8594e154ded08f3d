"""A plain, fast conversation with one Redis server: bytes out, parsed replies in, every error raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import pyarrow as pa
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
from feast_lakehouse.replies import ErrorReply, Incomplete, one_reply, pairs, skip_lines
from feast_lakehouse.resp import command

T = TypeVar("T")

_RECEIVE_BYTES = 1 << 18
_REFUSALS = ("NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE")
_REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)


class Wire:
    """One connection, borrowed from a client's pool (so TLS, passwords and timeouts are the client's).

    Once it is lost, also because somebody here closed the client, every use raises TransportError.
    """

    def __init__(self, connection: Any) -> None:
        # redis-py would connect anew when it sends, and an EXEC would be carried out without the WATCH before it. And it
        # parses replies one by one in Python: the socket read directly is ten times faster.
        self._socket = connection._sock  # noqa: SLF001 - see above
        self._data, self._at = b"", 0

    def send(self, *buffers: bytes | memoryview) -> None:
        """Write buffers to the server. Raises TransportError."""
        try:
            self._socket.sendall(b"".join(buffers))
        except (OSError, AttributeError) as error:
            raise TransportError(f"Redis: connection lost while sending: {error}") from error

    def acknowledged(self, count: int) -> None:
        """The next `count` replies, each one line such as +OK, +QUEUED or a number. Raises at the first error among them."""
        self._take(lambda data, at: (None, skip_lines(data, at, count)))

    def reply(self) -> Any:
        """The next reply as a Python value. Raises TransportError, or DataError when refused, if it is an error."""
        return self._take(one_reply)

    def executed(self, commands: int) -> bool:
        """The replies to MULTI, so many commands that answer with one line each, and EXEC: whether it was carried out."""
        self.acknowledged(1 + commands)
        header = self._take(_line)
        if header == b"*-1":
            return False
        self.acknowledged(int(header[1:]))
        return True

    def pairs(self, count: int) -> tuple[pa.Array, pa.Array]:
        """The next `count` replies of two fields each, as two columns; null where a field is absent."""

        def both(data: bytes, at: int) -> tuple[tuple[pa.Array, pa.Array], int]:
            first, second, end = pairs(data, at, count)
            return (first, second), end

        return self._take(both)

    def _take(self, parse: Callable[[bytes, int], tuple[T, int]]) -> T:
        while True:
            try:
                value, self._at = parse(self._data, self._at)
            except Incomplete:
                self._fill()
            except ErrorReply as error:
                raise_reply(ResponseError(str(error)))
            else:
                return value

    def _fill(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except (OSError, AttributeError) as error:
            raise TransportError(f"Redis: connection lost while waiting for replies: {error}") from error
        if not data:
            raise TransportError("Redis: the server closed the connection in the middle of a reply.")
        self._data, self._at = self._data[self._at :] + data, 0


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = skip_lines(data, at, 1)
    return data[at : end - 2], end


def raise_reply(error: ResponseError) -> NoReturn:
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
        wire = Wire(connection)
        if connection.get_protocol() in (3, "3"):
            wire.send(command(b"HELLO", b"2"))  # what replies.py reads
            wire.reply()
        yield wire
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
