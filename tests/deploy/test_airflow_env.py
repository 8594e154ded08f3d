"""Airflow as deploy/azure sets it up: connections from a vault by managed identity, task logs in a blob container."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.databricks.certificate import make_certificate
from tests.services.azurite import azurite
from tests.services.downloads import Unavailable

CHECKOUT = Path(__file__).parents[2]
IDENTITY, TENANT, TOKEN = "5f0c-identity-of-logs", "72f9-tenant", "a-token-of-entra"
LOG = "dag_id=d/run_id=r/task_id=t/attempt=1.log"

WRITE_AND_READ = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from airflow.config_templates.airflow_local_settings import BASE_LOG_FOLDER, REMOTE_TASK_LOG
path = Path(BASE_LOG_FOLDER) / sys.argv[1]
path.parent.mkdir(parents=True)
path.write_text('{"event": "landed"}\\n')
REMOTE_TASK_LOG.upload(sys.argv[1], None)
sources, logs = REMOTE_TASK_LOG.read(sys.argv[1], None)
print(json.dumps({"kind": type(REMOTE_TASK_LOG).__name__, "sources": sources, "logs": logs, "left": path.exists()}))
"""

ASK = """
import json, sys
from airflow.sdk import Connection
found = Connection.get(sys.argv[1])
print(json.dumps({"type": found.conn_type, "extra": found.extra_dejson}))
"""


def env_file() -> dict[str, str]:
    lines = (CHECKOUT / "deploy" / "azure" / "airflow.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def outputs() -> dict[str, str]:
    """What Terraform's output adds, with the addresses of this test in it."""
    text = (CHECKOUT / "deploy" / "azure" / "outputs.tf").read_text()
    return dict(re.findall(r"^    (\w+)=(.*)$", text, re.MULTILINE))


def told(code: str, argument: str, *, home: Path, variables: dict[str, str]) -> dict[str, Any]:
    """What the code prints last, in an Airflow set up by the files of deploy/azure."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code, argument],
        env={**kept, **env_file(), "AIRFLOW_HOME": str(home), "NO_PROXY": "127.0.0.1", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_task_log_goes_to_the_container_and_is_read_from_there(tmp_path: Path) -> None:
    try:
        with azurite(tmp_path / "azurite") as blobs:
            blobs.container("airflow-logs")
            connection = {"conn_type": "wasb", "extra": {"connection_string": blobs.connection_string}}
            # no vault here, the connection comes from a variable
            variables = {"AIRFLOW_CONN_MY_FEAST_LOGS": json.dumps(connection), "AIRFLOW__SECRETS__BACKEND": ""}
            answer = told(WRITE_AND_READ, LOG, home=tmp_path, variables=variables)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert answer["kind"] == "WasbRemoteLogIO"
    assert "landed" in str(answer["logs"])
    assert any(source.endswith(f"airflow-logs/wasb-logs/{LOG}") for source in answer["sources"])
    assert answer["left"] is False


class Vault(BaseHTTPRequestHandler):
    """A Key Vault with one secret, and the machine's endpoint for tokens of its identities."""

    asked: list[str]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/metadata/identity/oauth2/token":
            query = parse_qs(url.query)
            assert query["resource"] == ["https://vault.azure.net"]
            self.asked.append(f"token for {query['client_id'][0]}")
            self._answer(200, {"access_token": TOKEN, "expires_in": "3600", "token_type": "Bearer", "resource": "x"})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            challenge = f'authorization="https://login.example.com/{TENANT}", resource="https://vault.azure.net"'
            self._answer(401, {}, {"WWW-Authenticate": f"Bearer {challenge}"})
        else:
            self.asked.append(url.path)
            value = {"conn_type": "generic", "extra": {"auth": "entra", "managed_identity_client_id": "online"}}
            self._answer(200, {"value": json.dumps(value), "id": f"https://{self.headers['Host']}/secrets/x/1"})

    def log_message(self, *_: object) -> None:
        """Stays quiet."""

    def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], chain: Path | None) -> Iterator[str]:
    import ssl

    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if chain is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_connections_come_from_the_vault_by_managed_identity(tmp_path: Path) -> None:
    Vault.asked = []
    certificate = make_certificate(tmp_path)
    text = outputs()["AIRFLOW__SECRETS__BACKEND_KWARGS"]
    with served(Vault, certificate.chain) as vault, served(Vault, None) as machine:
        values = {"vault_uri": f"https://{vault}/", "client_id": IDENTITY, "tenant_id": TENANT}
        kwargs = json.loads(re.sub(r"\$\{[^}]*\.(\w+)\}", lambda match: values[match[1]], text))
        assert set(values.values()) <= set(kwargs.values())
        kwargs["verify_challenge_resource"] = False  # this vault is not at vault.azure.net
        variables = {
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(kwargs),
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{machine}",
            "REQUESTS_CA_BUNDLE": str(certificate.authority),
        }
        answer = told(ASK, "my_feast_redis", home=tmp_path, variables=variables)
    assert answer == {"type": "generic", "extra": {"auth": "entra", "managed_identity_client_id": "online"}}
    assert f"token for {IDENTITY}" in Vault.asked
    assert any(path.startswith("/secrets/airflow-connections-my-feast-redis") for path in Vault.asked)
