"""The workspace over HTTPS: Jobs API 2.1 and 2.2, the login of service principals, and the faults told to it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.databricks.certificate import Certificate
from tests.databricks.faults import Fault
from tests.databricks.workspace import Refused, Workspace

LOGIN = "/oidc/v1/token"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, *_: object) -> None:
        """Stays quiet."""

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        workspace = self.server.workspace
        call = _call(url.path)
        with workspace.lock:
            fault = next((each for each in workspace.faults if each.strikes(call)), None)
            try:
                if fault is not None and not fault.drop:
                    raise _struck(workspace, fault)
                status, answer, headers = 200, self._carried_out(method, call, url.query, content), {}
            except Refused as refusal:
                status, headers = refusal.status, refusal.headers
                answer = {"error_code": refusal.code, "message": str(refusal)}
            workspace.calls.append((call, status))
        if fault is not None and fault.drop:
            self.close_connection = True
            self.connection.close()
            return
        self._send(status, answer, headers)

    def _carried_out(self, method: str, call: str, query: str, content: bytes) -> dict[str, Any]:
        workspace = self.server.workspace
        authorization = self.headers.get("Authorization", "")
        if call == "token":
            expected = base64.b64encode(f"{workspace.client_id}:{workspace.client_secret}".encode()).decode()
            if authorization != f"Basic {expected}":
                raise Refused(401, "invalid_client", "Client authentication failed")
            return workspace.login()
        if authorization.removeprefix("Bearer ") not in workspace.logins:
            raise Refused(401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API.")
        arguments = dict(parse_qsl(query)) | (json.loads(content) if content else {})
        return _route(workspace, method, call)(arguments)

    def _send(self, status: int, answer: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)


def _call(path: str) -> str:
    """The kind of a call, by the end of its path: submit, get, get-output, cancel, repair, run-now, list, token."""
    return path.rsplit("/", 1)[-1]


def _struck(workspace: Workspace, fault: Fault) -> Refused:
    if fault.revoke:
        workspace.logins.clear()
    return Refused(fault.status, fault.code, fault.message, fault.headers)


def _route(workspace: Workspace, method: str, call: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    routes: dict[tuple[str, str], Callable[[dict[str, Any]], dict[str, Any]]] = {
        ("POST", "submit"): workspace.submit,
        ("POST", "run-now"): workspace.run_now,
        ("GET", "list"): workspace.list_jobs,
        ("GET", "get"): lambda said: workspace.get(int(said["run_id"]), history=said.get("include_history") == "true"),
        ("GET", "get-output"): lambda said: workspace.output(int(said["run_id"])),
        ("POST", "cancel"): lambda said: workspace.cancel(int(said["run_id"])),
        ("POST", "repair"): workspace.repair,
    }
    if (method, call) not in routes:
        raise Refused(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {call}'")
    return routes[method, call]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    workspace: Workspace

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


@contextmanager
def serving(workspace: Workspace, certificate: Certificate) -> Iterator[str]:
    """Serves on a free port of 127.0.0.1; gives `host:port`, which is what a connection's `host` takes."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.workspace = workspace
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    host = f"127.0.0.1:{server.server_address[1]}"
    workspace.address = f"https://{host}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
