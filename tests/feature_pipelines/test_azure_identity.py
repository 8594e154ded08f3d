"""Identities as deltalake really uses them: a stand-in gives tokens and is the account that wants to see them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.azure_identity import deltalake_options
from feature_pipelines.connection_text import Connection

SECRET = "canary-client-secret"
EMPTY = b'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs></Blobs><NextMarker /></EnumerationResults>'
REFUSED = {"error": "invalid_client", "error_description": f"AADSTS7000215: Invalid client secret provided: {SECRET}."}


class Cloud(ThreadingHTTPServer):
    """Microsoft Entra, a machine's identity endpoint, and a storage account without tables."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status, self.asked, self.shown, self.lives = 200, list[dict[str, str]](), list[str](), 3600

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Cloud

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._token({name: values[0] for name, values in asked.items()})

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/identity":
            self._token({name: values[0] for name, values in parse_qs(parts.query).items()})
            return
        self.server.shown.append(self.headers.get("Authorization", ""))
        self._say(200 if "comp=list" in parts.query else 404, EMPTY, "application/xml")

    do_HEAD = do_GET  # noqa: N815 - the base class looks for it

    def _token(self, asked: dict[str, str]) -> None:
        self.server.asked.append(asked)
        ends = str(int(time.time()) + self.server.lives)
        given = {"access_token": f"token{len(self.server.asked)}", "expires_in": self.server.lives, "expires_on": ends}
        body: dict[str, object] = {200: given, 503: {"error": "temporarily_unavailable"}}.get(
            self.server.status, REFUSED
        )
        self._say(self.server.status, json.dumps({**body, "token_type": "Bearer"}).encode(), "application/json")

    def _say(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as started:
        thread = threading.Thread(target=started.serve_forever, daemon=True)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def table(cloud: Cloud, **fields: object) -> TableRef:
    extra = {"endpoint": f"{cloud.url}/account", "account_name": "account", **fields.pop("extra", {})}  # type: ignore[dict-item]
    options = deltalake_options(Connection("my_feast_cloud", extra=extra, **fields))  # type: ignore[arg-type]
    options["azure_storage_account_name"] = "account"
    return TableRef("abfss://lake@account.dfs.core.windows.net/t", options, "lake cloud, connection my_feast_cloud")


def principal(cloud: Cloud) -> TableRef:
    extra = {"tenant_id": "tenant", "authority_host": cloud.url}
    return table(cloud, login="client", password=SECRET, extra=extra)


def test_a_service_principal_asks_for_a_token_and_shows_it(cloud: Cloud) -> None:
    assert not principal(cloud).exists()
    assert cloud.asked == [
        {
            "client_id": "client",
            "client_secret": SECRET,
            "scope": "https://storage.azure.com/.default",
            "grant_type": "client_credentials",
        }
    ]
    assert set(cloud.shown) == {"Bearer token1"}


def test_a_managed_identity_asks_its_machine(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{cloud.url}/identity")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    assert not table(cloud, extra={"managed_identity_client_id": "mine"}).exists()
    assert [(asked["client_id"], asked["resource"]) for asked in cloud.asked] == [("mine", "https://storage.azure.com")]
    assert set(cloud.shown) == {"Bearer token1"}


@pytest.mark.parametrize("status", [400, 401])
def test_a_refused_identity_is_told_at_once_without_its_secret(cloud: Cloud, status: int) -> None:
    cloud.status = status
    with pytest.raises(DataError, match=r"No token was given.*Check lake cloud, connection my_feast_cloud\.") as caught:
        principal(cloud).exists()
    assert len(cloud.asked) == 1
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_entra_that_is_down_is_an_outage(cloud: Cloud) -> None:
    cloud.status = 503
    began = time.monotonic()
    with pytest.raises(TransportError, match=r"connection my_feast_cloud\."):
        principal(cloud).exists()
    assert time.monotonic() - began < 120
    assert len(cloud.asked) > 1


def test_a_token_that_ends_is_asked_for_anew(cloud: Cloud) -> None:
    cloud.lives = 1
    ref = principal(cloud)
    for _ in range(2):
        ref.exists()
    assert len(cloud.asked) >= 2
    assert "Bearer token2" in cloud.shown
