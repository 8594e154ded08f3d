"""What every test may ask for: a real Redis; and the programs of this machine on PATH for Spark and Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis as redis_py
from hypothesis import HealthCheck, settings

from feature_pipelines.embedded import machine
from tests.servers import RedisServer, start_redis


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported: Spark and Airflow read these when they are."""
    os.environ.update(machine.program_environment(machine.java_home()))
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "MY_FEAST_", "FEAST_"))]:
        del os.environ[name]
    os.environ["FEAST_USAGE"] = "False"
    # How long an example takes says how busy the machine is, with several tests at once, and nothing about the code.
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")
    from tests.cluster import steps

    config.pluginmanager.register(steps, "steps of the cluster")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One redis-server for all tests that only need an empty one; start your own with servers.start_redis to break."""
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[redis_py.Redis]:
    """A client of the shared server, emptied for this test."""
    client = redis_server.client()
    client.flushall()
    yield client
    client.close()
