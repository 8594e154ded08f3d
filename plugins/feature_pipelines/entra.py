"""Logging in to Redis with tokens of Microsoft Entra, renewed before they end, on the connections that are open too."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.auth.token import TokenInterface
from redis.credentials import StreamingCredentialProvider

from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.storage_errors import readable

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

SCOPE: Final = "https://redis.azure.com/.default"
RENEW_AT: Final = 0.7
"""Of a token's remaining life: the identity gives a new one by then, and there is time to ask again."""

RETRY_SECONDS: Final = 30.0
SHORTEST_WAIT: Final = 1.0


@dataclass(frozen=True)
class RedisToken(TokenInterface):
    """A token as redis-py hands it to open connections: `oid` is the user, the value the password."""

    user: str
    value: str
    expires_on: float

    def is_expired(self) -> bool:
        """Whether it is."""
        return self.ttl() <= 0

    def ttl(self) -> float:
        """Milliseconds it is still good for."""
        return (self.expires_on - _now()) * 1000

    def try_get(self, key: str) -> str:
        """The user for `oid`, nothing else."""
        return self.user if key == "oid" else ""

    def get_value(self) -> str:
        """The password."""
        return self.value

    def get_expires_at_ms(self) -> float:
        """Since 1970."""
        return self.expires_on * 1000

    def get_received_at_ms(self) -> float:
        """Now: how long ago the identity got it is not told."""
        return _now() * 1000


class EntraTokens(StreamingCredentialProvider):
    """Gives the token of the moment to every new connection, and each renewed one to the connections in use.

    The user is the identity's object id, read from the token, unless `username` says otherwise. Raises DataError when
    Entra refuses the identity, TransportError when it does not answer.
    """

    def __init__(self, credential: TokenCredential, *, username: str | None = None) -> None:
        self._credential, self._username = credential, username
        self._listeners: list[Callable[[Any], Any]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: list[threading.Timer] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _cancel, self._timers)

    def token(self) -> RedisToken:
        """A token that is good now; the identity keeps and renews it."""
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import CredentialUnavailableError

        try:
            found = self._credential.get_token(SCOPE)
        except Exception as error:  # noqa: BLE001 - the identity's client documents only some of its errors
            refused = isinstance(error, ClientAuthenticationError) and not isinstance(error, CredentialUnavailableError)
            kind = DataError if refused else TransportError
            raise kind(f"Redis: Microsoft Entra gave no token: {readable(str(error))}") from None
        return RedisToken(self._username or _object_id(found.token), found.token, float(found.expires_on))

    def get_credentials(self) -> tuple[str, str]:
        """User and token, for a connection that logs in."""
        token = self.token()
        self._renew_later(token)
        return token.user, token.value

    async def get_credentials_async(self) -> tuple[str, str]:
        """As get_credentials, beside the event loop."""
        self._loop = asyncio.get_running_loop()
        return await asyncio.to_thread(self.get_credentials)

    def on_next(self, callback: Callable[[Any], Any]) -> None:
        """Whom to tell each renewed token; every pool of redis-py asks for it."""
        self._listeners.append(callback)

    def on_error(self, callback: Callable[[Exception], None]) -> None:
        """Not used: a token that cannot be renewed is asked for again, and open connections live until it ends."""

    def is_streaming(self) -> bool:
        """Whether tokens are being renewed in the background."""
        return bool(self._timers)

    def _renew_later(self, token: RedisToken) -> None:
        with self._lock:
            if not self._timers:
                _schedule(weakref.ref(self), max(SHORTEST_WAIT, token.ttl() / 1000 * RENEW_AT), self._timers)

    def renew(self) -> float:
        """Ask for a token, tell it to everybody, and return in how many seconds to do so again."""
        try:
            token = self.token()
        except (DataError, TransportError):
            return RETRY_SECONDS
        missed = [tell for tell in self._listeners if not self._told(tell, token)]
        return RETRY_SECONDS if missed else max(SHORTEST_WAIT, token.ttl() / 1000 * RENEW_AT)

    def _told(self, tell: Callable[[Any], Any], token: RedisToken) -> bool:
        """Whether a pool took the token; it stops at the first connection that the server has closed, and drops that."""
        try:
            if not inspect.iscoroutinefunction(tell):
                tell(token)
            elif self._loop is not None and self._loop.is_running():
                asyncio.run_coroutine_threadsafe(tell(token), self._loop)
        except Exception:  # noqa: BLE001 - whatever it is, the others are told, and this one again
            return False
        return True


def _schedule(provider: weakref.ref[EntraTokens], seconds: float, timers: list[threading.Timer]) -> None:
    """A daemon thread that waits; it ends with the process, and with the provider, which it does not keep alive."""

    def run() -> None:
        alive = provider()
        if alive is not None:
            _schedule(provider, alive.renew(), timers)

    timer = threading.Timer(seconds, run)
    timer.daemon = True
    timers[:] = [timer]
    timer.start()


def _cancel(timers: list[threading.Timer]) -> None:
    for timer in timers:
        timer.cancel()


def _object_id(token: str) -> str:
    """The claim `oid` of a token (a JWT, which Redis itself verifies)."""
    try:
        body = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["oid"])
    except (IndexError, ValueError, KeyError):
        raise DataError(
            f"connection extra object_id: expected the identity's object id, as its token for {SCOPE} does not tell it."
        ) from None


def _now() -> float:
    return time.time()  # noqa: TID251 — until when a token is good does depend on the clock
