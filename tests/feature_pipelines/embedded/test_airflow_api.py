"""Calls of Airflow's API that meet a server in trouble: asked again, and told when that does not help."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from feature_pipelines.embedded import airflow_api
from feature_pipelines.embedded.airflow_api import TRIES, AirflowApi, AirflowApiError

HANGS_UP = 0


class Server(http.server.ThreadingHTTPServer):
    """Answers each call with the next status of `answers`, and with 200 when there is none left."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.calls: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append(f"{self.command} {self.path}")
        is_login = self.path == "/auth/token"
        status = self.server.answers.pop(0) if self.server.answers and not is_login else 200
        if status == HANGS_UP:
            return
        body = json.dumps({"access_token": "token", "dags": []}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PATCH = do_GET  # noqa: N815 - the base class looks for them

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(airflow_api.time, "sleep", lambda _: None)
    with Server() as started:
        thread = threading.Thread(target=started.serve_forever, daemon=True)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


@pytest.fixture
def api(server: Server) -> AirflowApi:
    return AirflowApi(f"http://127.0.0.1:{server.server_port}", "admin", "password")


CALLS: dict[str, Any] = {
    "list": lambda api: api.dags(),
    "unpause": lambda api: api.unpause("land_flights"),
    "trigger": lambda api: api.trigger("land_flights", "one", conf={}),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_server_in_trouble_is_asked_again(server: Server, api: AirflowApi, call: str) -> None:
    server.answers = [500, HANGS_UP, 503]
    CALLS[call](api)
    assert len(server.calls) == 1 + 4, "a login and four tries"


@pytest.mark.parametrize(("status", "told"), [(500, "500"), (HANGS_UP, "did not answer")])
def test_trouble_that_does_not_end_is_told(server: Server, api: AirflowApi, status: int, told: str) -> None:
    server.answers = [status] * 100
    with pytest.raises(AirflowApiError, match=told):
        api.unpause("land_flights")
    assert len(server.calls) == 1 + TRIES


def test_a_refusal_is_told_at_once(server: Server, api: AirflowApi) -> None:
    server.answers = [404]
    with pytest.raises(AirflowApiError, match="404"):
        api.unpause("no_such_dag")
    assert len(server.calls) == 1 + 1


def test_a_run_that_is_there_already_is_that_run(server: Server, api: AirflowApi) -> None:
    server.answers = [HANGS_UP, 409]  # it was started, and the answer lost
    api.trigger("land_flights", "one", conf={})


def test_no_server_is_not_healthy(server: Server, api: AirflowApi) -> None:
    server.answers = [HANGS_UP]
    assert api.health() == {}
