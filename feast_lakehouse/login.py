"""Connections to Redis whose failed login says where it was tried and whose credentials to check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

EXPIRED = "certificate has expired"


def name_origin(client: Any, origin: str) -> Any:
    """The same client (of either kind); its new connections tell `origin`, such as "connection x", when they fail.

    An expired certificate counts as a refusal: nobody but its owner can change it, so trying again is of no use.
    """
    pool = client.connection_pool
    asynchronous = type(pool).__module__.startswith("redis.asyncio")
    base = _Told if not asynchronous else _ToldAsync
    pool.connection_class = type(pool.connection_class.__name__, (base, pool.connection_class), {"origin": origin})
    return client


class _Told:
    origin: str

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        with _telling(self):
            super().connect_check_health(*args, **kwargs)  # type: ignore[misc]  # redis-py's, mixed in by name_origin


class _ToldAsync:
    origin: str

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        with _telling(self):
            await super().connect_check_health(*args, **kwargs)  # type: ignore[misc]  # as above


@contextmanager
def _telling(connection: Any) -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        where = (
            f"{getattr(connection, 'host', None) or getattr(connection, 'path', '')}:{getattr(connection, 'port', '')}"
        )
        said = f"{str(error).rstrip('.')} ({where.rstrip(':')}). Check {connection.origin}."
        raise _kind(error)(said) from error


def _kind(error: RedisError) -> type[RedisError]:
    if EXPIRED in str(error):
        return AuthenticationError
    kinds = (AuthenticationError, RedisTimeoutError, RedisConnectionError)
    return next((kind for kind in kinds if isinstance(error, kind)), RedisConnectionError)
