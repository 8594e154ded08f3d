"""Tokens of Microsoft Entra as Redis passwords: asked for at every login, renewed on open connections, refusals told."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.identity import CredentialUnavailableError
from redis import asyncio as redis_asyncio

from feast_lakehouse.connection import client_of
from feast_lakehouse.errors import DataError, LakehouseError, TransportError
from feast_lakehouse.online_store import LakehouseRedisOnlineStoreConfig
from feature_pipelines import connections, entra
from feature_pipelines.entra import SCOPE, EntraTokens
from tests.servers import RedisServer, start_redis
from tests.services.programs import wait_until

USER = "00000000-0000-0000-0000-00000000000a"


def jwt(number: int, oid: str | None = USER) -> str:
    claims = {"n": number} | ({"oid": oid} if oid else {})
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


class Identity:
    """Entra and the managed Redis that trusts it: each token becomes a password of the user.

    It is the only one, as if the last token had ended, unless older ones stay good.
    """

    def __init__(
        self,
        admin: redis_py.Redis | None = None,
        *,
        lives: float = 3600,
        oid: str | None = USER,
        older_stay_good: bool = False,
    ) -> None:
        self.admin, self.lives, self.oid, self.given = admin, lives, oid, 0
        self.rules = ("on",) if older_stay_good else ("on", "resetpass")
        self.fails: Exception | None = None

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == (SCOPE,)
        if self.fails:
            raise self.fails
        self.given += 1
        token = jwt(self.given, self.oid)
        if self.admin:
            self.admin.execute_command("ACL", "SETUSER", USER, *self.rules, f">{token}", "~*", "+@all")
        return AccessToken(token, int(time.time() + self.lives))


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    started = start_redis(tmp_path_factory.mktemp("redis"))
    yield started
    started.stop()


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis_py.Redis]:
    client = server.client()
    yield client
    client.close()


def test_the_user_is_the_identity_unless_told(server: RedisServer, admin: redis_py.Redis) -> None:
    client = server.client(credential_provider=EntraTokens(Identity(admin)))
    assert client.acl_whoami() == USER
    client.close()
    assert EntraTokens(Identity(oid=None), username="told").get_credentials()[0] == "told"
    with pytest.raises(DataError, match="object_id"):
        EntraTokens(Identity(oid=None)).get_credentials()


def test_a_new_connection_asks_for_the_token_of_the_moment(server: RedisServer, admin: redis_py.Redis) -> None:
    identity = Identity(admin)
    client = server.client(credential_provider=EntraTokens(identity))
    client.ping()
    admin.client_kill_filter(user=USER)  # what the server does when a token ends
    assert client.ping()
    assert identity.given == 2
    client.close()


def test_open_connections_are_told_each_renewed_token(server: RedisServer, admin: redis_py.Redis) -> None:
    identity = Identity(admin)
    provider = EntraTokens(identity)
    client = server.client(credential_provider=provider)
    client.ping()
    number = admin.client_list()
    provider.renew()
    assert identity.given == 2
    assert client.ping()
    mine = [each["id"] for each in number if each["user"] == USER]
    assert mine == [each["id"] for each in admin.client_list() if each["user"] == USER], "the same connection"
    client.close()


def test_a_connection_the_server_closed_does_not_keep_the_others_from_being_told(
    server: RedisServer, admin: redis_py.Redis
) -> None:
    identity = Identity(admin, older_stay_good=True)
    provider = EntraTokens(identity)
    clients = [server.client(credential_provider=provider, retry=None) for _ in range(2)]
    for client in clients:
        client.ping()
    closed, kept = (each["id"] for each in admin.client_list() if each["user"] == USER)
    admin.client_kill_filter(_id=closed)
    before = logins(admin)
    assert provider.renew() == entra.RETRY_SECONDS, "the pool whose connection is gone is told again soon"
    assert logins(admin) == before + 1, "the other pool's connection is told"
    assert provider.renew() > entra.RETRY_SECONDS
    assert [client.ping() for client in clients] == [True, True]
    assert kept in [each["id"] for each in admin.client_list()]
    for client in clients:
        client.close()


def logins(admin: redis_py.Redis) -> int:
    return int(admin.info("commandstats")["cmdstat_auth"]["calls"])


def test_renewing_goes_on_in_the_background_and_ends_with_the_client(
    server: RedisServer, admin: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entra, "SHORTEST_WAIT", 0.05)
    identity = Identity(admin, lives=0)
    provider = EntraTokens(identity)
    client = server.client(credential_provider=provider)
    client.ping()
    assert provider.is_streaming()
    wait_until(lambda: identity.given >= 4, what="renewing goes on", seconds=60)
    monkeypatch.setattr(entra, "SHORTEST_WAIT", 3600)
    timers, gone = provider._timers, weakref.ref(provider)
    wait_until(lambda: timers[0].interval == 3600, what="the last short wait is over", seconds=60)
    client.close()
    del provider, client
    wait_until(lambda: gc.collect() >= 0 and gone() is None, what="the provider is gone", seconds=60)
    wait_until(lambda: not timers[0].is_alive(), what="its timer has ended", seconds=60)


def test_an_event_loops_connections_are_told_too(server: RedisServer, admin: redis_py.Redis) -> None:
    identity = Identity(admin)
    provider = EntraTokens(identity)

    async def use() -> None:
        client = redis_asyncio.Redis(host="127.0.0.1", port=server.port, credential_provider=provider)
        await client.ping()
        await asyncio.to_thread(provider.renew)
        await asyncio.sleep(0.1)
        assert await client.acl_whoami() == USER
        assert identity.given == 2
        await client.aclose()

    asyncio.run(use())


@pytest.mark.parametrize(
    ("fails", "kind"),
    [
        (ClientAuthenticationError("AADSTS7000215: Invalid client secret. client_secret=c2VjcmV0"), DataError),
        (CredentialUnavailableError("ManagedIdentityCredential authentication unavailable"), TransportError),
        (ServiceRequestError("Failed to resolve 'login.microsoftonline.com'"), TransportError),
        (FileNotFoundError("/var/run/secrets/tokens/azure-identity-token"), TransportError),  # no AzureError
    ],
)
def test_no_token_is_told(fails: Exception, kind: type[LakehouseError]) -> None:
    identity = Identity()
    identity.fails = fails
    provider = EntraTokens(identity)
    with pytest.raises(kind, match="Microsoft Entra gave no token") as caught:
        provider.get_credentials()
    assert "c2VjcmV0" not in str(caught.value)
    assert type(caught.value) is kind
    assert provider.renew() == entra.RETRY_SECONDS


def test_the_online_store_logs_in_with_it(
    server: RedisServer, admin: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity(admin)
    monkeypatch.setenv("AIRFLOW_CONN_MY_FEAST_REDIS", '{"conn_type": "redis", "extra": {"auth": "entra"}}')
    monkeypatch.setattr("feature_pipelines.azure_identity.token_credential", lambda _: identity)
    assert isinstance(connections.redis_credentials(), EntraTokens)
    settings = LakehouseRedisOnlineStoreConfig(
        connection_string=server.connection_string,
        credential_provider="feature_pipelines.connections.redis_credentials",
    )
    client = client_of(settings)
    assert client.acl_whoami() == USER
    client.close()
