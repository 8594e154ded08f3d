"""How to reach Redis: Feast's connection string, and what does not fit into one: credentials, tokens, timeouts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Self, cast

from feast.infra.online_stores.redis import RedisClient, RedisOnlineStoreConfig
from pydantic import ConfigDict, SecretStr, model_validator
from redis import Redis
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.credentials import CredentialProvider
from redis.retry import Retry
from typing_extensions import override

from feast_lakehouse.errors import DataError
from feast_lakehouse.login import name_origin
from feast_lakehouse.named import function_at, origin_of

RECONNECTS = 3
"""How often a broken connection is tried again, within about a second, before the error is the caller's."""

_TEXT = frozenset({"username", "password", "ssl_password", "client_name"})
_SECRET = frozenset({"username", "password", "ssl_password"})


class ConnectionSettings(RedisOnlineStoreConfig):
    """Feast's Redis settings, plus credentials of their own and timeouts in seconds for a server that does not answer.

    `connection_string` is `host:port,name=value,…` with any option of redis-py's client (`db`, `ssl`, `ssl_ca_certs`,
    `ssl_certfile`, …), or `unix_socket_path=/…,name=value,…`. A `username` and `password` given here may hold any
    character. `credential_provider` names a function `module.function` without arguments that returns a
    redis.CredentialProvider; it is asked again for every connection. No credential shows in repr or in an error.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    username: str | None = None
    password: SecretStr | None = None
    credential_provider: str | None = None
    connect_timeout: float = 5.0
    socket_timeout: float = 30.0

    @model_validator(mode="after")
    def _one_source_of_credentials(self) -> Self:
        _, options = parse_connection_string(self.connection_string)
        sources = {
            "connection_string": bool({"username", "password"} & options.keys()),
            "username and password": bool(self.username or self.password),
            "credential_provider": bool(self.credential_provider),
        }
        named = [name for name, given in sources.items() if given]
        if len(named) > 1:
            raise ValueError(
                f"online_store: expected credentials in one place, found them in {' and in '.join(named)}."
            )
        if self.client == RedisClient.glide and (self.password or self.credential_provider):
            raise ValueError(
                f"online_store.client: expected redis with {named[0]}, found glide, which would not use it."
            )
        return self

    @override
    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _masked(value) if name == "connection_string" else value


def _masked(connection_string: str) -> str:
    parts = (part.split("=", 1) for part in connection_string.split(","))
    return ",".join(f"{p[0]}=**********" if p[0] in _SECRET else "=".join(p) for p in parts)


def parse_connection_string(connection_string: str) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Hosts and client options of Feast's format `host:port,name=value,…`.

    Unlike in Feast's own reading, a user or password of `1e5` or `true` stays text.
    """
    parts = [part for part in connection_string.split(",") if part]
    nodes = [_node(part) for part in parts if "=" not in part]
    options = dict(part.split("=", 1) for part in parts if "=" in part)
    return nodes, {name: value if name in _TEXT else _decoded(value) for name, value in options.items()}


def _node(part: str) -> dict[str, str]:
    host, colon, port = part.rpartition(":")
    if not (colon and port.isdecimal()):
        raise DataError(
            "online_store.connection_string: expected host:port,name=value,…, found a part that is neither. "
            "A password with a comma goes into online_store.password."
        )
    return {"host": host.strip("[]"), "port": port}


def _decoded(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def client_of(settings: RedisOnlineStoreConfig) -> Redis:
    """A client of one server, with timeouts. Nothing is connected yet."""
    client = Redis(**client_options(settings), retry=Retry(_backoff(), RECONNECTS))
    return cast(Redis, name_origin(client, _origin(settings)))


def async_client_of(settings: RedisOnlineStoreConfig) -> redis_asyncio.Redis:
    """As client_of, for an event loop."""
    client = redis_asyncio.Redis(**client_options(settings), retry=AsyncRetry(_backoff(), RECONNECTS))
    return cast(redis_asyncio.Redis, name_origin(client, _origin(settings)))


def _origin(settings: RedisOnlineStoreConfig) -> str:
    """What to check when a login fails: what the credentials' function says of itself, else the settings."""
    path = getattr(settings, "credential_provider", None)
    if not path:
        return "online_store"
    return origin_of(function_at(path, setting="online_store.credential_provider")) or str(path)


def _backoff() -> ExponentialBackoff:
    return ExponentialBackoff(cap=1.0, base=0.1)


def client_options(settings: RedisOnlineStoreConfig) -> dict[str, Any]:
    """Keyword arguments for redis-py's client. Raises DataError for settings that name no server or no provider."""
    nodes, options = parse_connection_string(settings.connection_string)
    if len(nodes) + ("unix_socket_path" in options) != 1:
        raise DataError(
            f"online_store.connection_string: expected one host:port or a unix_socket_path, found {len(nodes)} hosts."
        )
    if nodes:
        options |= {"host": nodes[0]["host"], "port": int(nodes[0]["port"])}
    options.setdefault("socket_connect_timeout", getattr(settings, "connect_timeout", 5.0))
    options.setdefault("socket_timeout", getattr(settings, "socket_timeout", 30.0))
    if isinstance(settings, ConnectionSettings):
        options |= _credentials(settings)
    return options


def _credentials(settings: ConnectionSettings) -> dict[str, Any]:
    if settings.credential_provider:
        return {"credential_provider": _provider(settings.credential_provider)}
    found = {
        "username": settings.username,
        "password": settings.password.get_secret_value() if settings.password else None,
    }
    return {name: value for name, value in found.items() if value}


def _provider(path: str) -> CredentialProvider:
    provider = function_at(path, setting="online_store.credential_provider")()
    if not isinstance(provider, CredentialProvider):
        raise DataError(f"{path}(): expected a redis.CredentialProvider, found {type(provider).__name__}.")
    return provider
