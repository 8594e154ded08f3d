"""What the programs of `make run` inherit: nothing that would lead them to another environment or another Airflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_pipelines.embedded.settings import Settings


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that was set up for the cluster."""
    for name, value in {
        "MY_FEAST_ENVIRONMENT": "cluster",
        "MY_FEAST_HOME": "/srv/my-feast",
        "MY_FEAST_REDIS": "redis:6380",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://airflow@postgres/airflow",
        "AIRFLOW__SECRETS__BACKEND": "airflow.providers.microsoft.azure.secrets.key_vault.AzureKeyVaultBackend",
        "AIRFLOW_CONFIG": "/srv/airflow.cfg",
        "HTTPS_PROXY": "http://proxy:3128",
    }.items():
        monkeypatch.setenv(name, value)


def test_a_shell_set_up_for_the_cluster_runs_the_embedded_environment(elsewhere: None, tmp_path: Path) -> None:
    settings = Settings(tmp_path, 1, redis_port=2, java=tmp_path)
    given = settings.variables()
    assert {given[name] for name in given if name.startswith("MY_FEAST_")} == {"embedded", str(tmp_path), "127.0.0.1:2"}
    assert not {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__SECRETS__BACKEND", "AIRFLOW_CONFIG"} & given.keys()
    assert given["AIRFLOW_HOME"] == str(tmp_path / "airflow")
    assert given["HTTPS_PROXY"] == "http://proxy:3128"
    env = settings.environment()
    assert (env.name, env.home) == ("embedded", tmp_path)
