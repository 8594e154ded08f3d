"""A workspace, an environment whose cloud lake is computed on it, and a task that computes there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databricks.certificate import Certificate, make_certificate
from tests.databricks.scene import CLUSTER, Scene, land_weather, write_environment
from tests.databricks.server import serving
from tests.databricks.workspace import Workspace


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Trusted by requests (through its variable) and by aiohttp, which has read the system's list when it was imported."""
    import aiohttp.connector

    made = make_certificate(tmp_path_factory.mktemp("certificate"))
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(made.authority)
    return made


@pytest.fixture(scope="session")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which two days of weather have landed."""
    home = tmp_path_factory.mktemp("landed") / "home"
    land_weather(home)
    return home


@pytest.fixture
def workspace(certificate: Certificate) -> Iterator[Workspace]:
    workspace = Workspace()
    with serving(workspace, certificate):
        yield workspace


@pytest.fixture
def scene(
    workspace: Workspace, certificate: Certificate, landed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Scene:
    """The landed weather, an environment file of the test's own, and the connection by OAuth of a service principal."""
    from airflow.sdk.bases.operator import ExecutorSafeguard

    shutil.copytree(landed, tmp_path / "home")
    write_environment(tmp_path / "checkout", CLUSTER)
    connection = {
        "conn_type": "databricks",
        "host": workspace.address.removeprefix("https://"),
        "login": workspace.client_id,
        "password": workspace.client_secret,
        "extra": {"service_principal_oauth": True},
    }
    for name, value in {
        "MY_FEAST_HOME": str(tmp_path / "home"),
        "MY_FEAST_CHECKOUT": str(tmp_path / "checkout"),
        "MY_FEAST_ENVIRONMENT": "test",
        "AIRFLOW_CONN_DATABRICKS_DEFAULT": json.dumps(connection),
        "REQUESTS_CA_BUNDLE": str(certificate.authority),
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    return Scene(workspace, tmp_path)
