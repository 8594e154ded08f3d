"""Connections: Airflow's two text forms, where they come from, and what they become; no secret shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.identity import AzureCliCredential, ClientSecretCredential, ManagedIdentityCredential

from feast_lakehouse.errors import DataError
from feature_pipelines import environment
from feature_pipelines.azure_identity import access_of, deltalake_options, sdk_credential, token_credential
from feature_pipelines.connection_text import Connection, parse_connection
from feature_pipelines.connections import (
    ConnectionMissing,
    connection,
    lake_options,
    redis_credentials,
    registry_credential,
)
from feature_pipelines.environment import CHECKOUT, EnvironmentBroken

SECRET = "s€cr:et/ @#%&=+"


def made(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "generic", **fields}))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of the cluster environment; nobody is asked at them here."""
    values = {
        "ENVIRONMENT": "cluster",
        "ON_PREM": "hdfs://namenode:8020/lake",
        "CLOUD": "abfss://lake@account.dfs.core.windows.net",
        "REGISTRY": "https://account.blob.core.windows.net/registry/registry.db",
        "REDIS": "redis:6380,ssl=true",
        "SPARK_MASTER": "spark://master:7077",
        "KAFKA": "kafka:9093",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"MY_FEAST_{name}", value)
    monkeypatch.setattr(environment, "_hadoop_users", {})
    monkeypatch.setenv("HADOOP_USER_NAME", "nobody")


# ------------------------------------------------------------------------------------------------------------ texts


def test_the_json_form() -> None:
    text = json.dumps(
        {
            "conn_type": "redis",
            "host": "H",
            "port": "6380",
            "login": "u",
            "password": SECRET,
            "schema": "1",
            "extra": {"a": {"b": 1}},
        }
    )
    found = parse_connection("x", text)
    assert found == Connection("x", "redis", "H", 6380, "u", SECRET, "1", {"a": {"b": 1}})
    assert parse_connection("x", '{"extra": "{\\"a\\": 1}"}').extra == {"a": 1}
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "uri",
    [
        "redis://user:s%E2%82%ACcr%3Aet%2F%20%40%23%25%26%3D%2B@Host.Example:6380/1?sas_token=a%3Db&x=",
        "adls://https://client:pw@account.blob.core.windows.net:443/path",
        "generic://u:p@%2Fvar%2Frun%2Fredis.sock",
        "generic://host",
        "generic://:pw@",
        "generic://?__extra__=%7B%22a%22%3A%20%7B%22b%22%3A%201%7D%7D",
        "my-type://u@[::1]:7/s",
    ],
)
def test_the_uri_form_is_read_as_airflow_reads_it(uri: str) -> None:
    from airflow.sdk import Connection as AirflowConnection

    mine, theirs = parse_connection("x", uri), AirflowConnection.from_uri(uri, conn_id="x")
    for name in ("host", "port", "login", "password", "schema"):
        assert (getattr(mine, name) or None) == (getattr(theirs, name) or None), name
    assert dict(mine.extra) == (json.loads(theirs.extra) if theirs.extra else {})


@pytest.mark.parametrize(
    "text", ["s3cr3t", '{"password": "s3cr3t"', '{"extra": "s3cr3t"}', '{"port": "s3cr3t"}', "redis://h:s3cr3t/"]
)
def test_a_broken_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(DataError, match="AIRFLOW_CONN_MY_FEAST_REDIS is neither JSON such as") as caught:
        parse_connection("my_feast_redis", text)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__suppress_context__


# ------------------------------------------------------------------------------------------------ where they come from


def test_a_variable_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, "my_feast_redis", login="u", password=SECRET)
    assert connection("my_feast_redis").password == SECRET


def test_a_missing_connection_names_the_variable() -> None:
    with pytest.raises(ConnectionMissing, match=r"connection my_feast_events: not found.*AIRFLOW_CONN_MY_FEAST_EVENTS"):
        connection("my_feast_events")


def test_the_command_line_does_not_start_airflow_for_it() -> None:
    code = (
        "import sys; from feature_pipelines.connections import connection; assert connection('my_feast_x').login == 'u'; "
        "print([m for m in ('airflow', 'feast', 'azure', 'redis', 'deltalake', 'pyarrow') if m in sys.modules])"
    )
    variables = {"PYTHONPATH": ".:plugins", "AIRFLOW_CONN_MY_FEAST_X": "generic://u:p@h"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT, env=variables
    )
    assert done.stdout.strip() == "[]"


SECRETS_FILE = """
from feature_pipelines.connections import connection
found = connection("my_feast_x")
print(found.login, found.password, found.extra["a"])
try:
    connection("my_feast_y")
except Exception as error:
    print(type(error).__name__)
"""


def test_a_secrets_backend_is_asked_outside_of_tasks_too(tmp_path: Path) -> None:
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    (tmp_path / "connections.json").write_text(
        json.dumps({"my_feast_x": {"conn_type": "generic", "login": "u", "password": "p", "extra": {"a": 1}}})
    )
    variables = {
        "PYTHONPATH": ".:plugins",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__SECRETS__BACKEND": backend,
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(tmp_path / "connections.json")}),
    }
    done = subprocess.run(
        [sys.executable, "-c", SECRETS_FILE], capture_output=True, text=True, check=False, cwd=CHECKOUT, env=variables
    )
    assert done.stdout.splitlines()[-2:] == ["u p 1", "ConnectionMissing"], done.stderr


# ------------------------------------------------------------------------------------------------------------ Azure


def azure(**fields: Any) -> Connection:
    return parse_connection("my_feast_cloud", json.dumps({"conn_type": "adls", **fields}))


KEY, SAS = "a2V5", "?sv=1&sig=c2ln"
TENANT = {"tenant_id": "t"}
CASES: dict[str, tuple[dict[str, Any], dict[str, str], type[object]]] = {
    "managed identity of the machine": ({}, {}, ManagedIdentityCredential),
    "managed identity of a user's": (
        {"extra": {"managed_identity_client_id": "c"}},
        {"azure_client_id": "c"},
        ManagedIdentityCredential,
    ),
    "Azure CLI": ({"extra": {"identity": "cli"}}, {"azure_use_azure_cli": "true"}, AzureCliCredential),
    "service principal": (
        {"login": "c", "password": "s", "extra": TENANT},
        {"azure_client_id": "c", "azure_client_secret": "s", "azure_tenant_id": "t"},
        ClientSecretCredential,
    ),
    "SAS": ({"extra": {"sas_token": SAS}}, {"azure_storage_sas_token": SAS[1:]}, AzureSasCredential),
    "account key": ({"login": "a", "password": KEY}, {"azure_storage_account_key": KEY}, AzureNamedKeyCredential),
    "account key in extra": (
        {"login": "a", "extra": {"account_key": KEY}},
        {"azure_storage_account_key": KEY},
        AzureNamedKeyCredential,
    ),
    "connection string": (
        {"extra": {"connection_string": f"AccountName=a;AccountKey={KEY};EndpointSuffix=core.windows.net"}},
        {"azure_storage_account_key": KEY},
        AzureNamedKeyCredential,
    ),
    "Azurite": (
        {"host": "http://127.0.0.1:10000/a/", "login": "a", "password": KEY},
        {
            "azure_storage_account_key": KEY,
            "azure_storage_endpoint": "http://127.0.0.1:10000/a",
            "azure_storage_account_name": "a",
            "allow_http": "true",
        },
        AzureNamedKeyCredential,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_connection_becomes_a_credential(case: str) -> None:
    fields, options, credential = CASES[case]
    assert deltalake_options(azure(**fields)) == options
    assert isinstance(sdk_credential(azure(**fields)), credential)


def test_identities_come_before_a_sas_and_that_before_a_key() -> None:
    everything = {
        "login": "c",
        "password": "s",
        "extra": {**TENANT, "sas_token": SAS, "managed_identity_client_id": "m"},
    }
    order = []
    for name in ("managed_identity_client_id", "tenant_id", "sas_token", ""):
        order.append(access_of(azure(**everything)).kind)
        everything["extra"].pop(name, None)
    assert order == ["managed", "principal", "sas", "key"]


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"extra": TENANT}, "connection my_feast_cloud: extra tenant_id means a service principal"),
        ({"extra": {"identity": "magic"}}, "identity is 'magic', expected one of managed, workload, cli"),
        ({"extra": {"connection_string": "AccountName=a"}}, "neither AccountKey nor SharedAccessSignature"),
    ],
)
def test_an_incomplete_connection_is_named(fields: dict[str, Any], pattern: str) -> None:
    with pytest.raises(DataError, match=pattern):
        access_of(azure(**fields))


def test_a_key_gives_no_token() -> None:
    with pytest.raises(DataError, match=r"expected an identity.*found a key") as caught:
        token_credential(azure(login="a", password=KEY))
    assert KEY not in str(caught.value)
    assert KEY not in repr(access_of(azure(login="a", password=KEY)))
    with pytest.raises(DataError, match="needs the account's name as login"):
        sdk_credential(azure(password=KEY))


# ------------------------------------------------------------------------------------- what the environments' files name


def test_the_cloud_lake_asks_its_connection(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionMissing, match="my_feast_cloud"):
        lake_options("cloud")
    made(monkeypatch, "my_feast_cloud", login="account", password=KEY)
    assert lake_options("cloud") == {"azure_storage_account_key": KEY}
    ref = environment.load().features("airport_weather_hourly")
    assert ref.storage_options == {"azure_storage_account_key": KEY}
    assert ref.place == "lake cloud, connection my_feast_cloud"
    assert KEY not in repr(ref)


def test_the_lake_on_hdfs_has_a_user(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    assert lake_options("on_prem") == {}  # the connection may be missing
    assert os.environ["HADOOP_USER_NAME"] == "nobody"
    made(monkeypatch, "my_feast_on_prem", login="flights", extra={"dfs.ha.namenodes.x": "a,b", "note": "mine"})
    assert lake_options("on_prem") == {"dfs.ha.namenodes.x": "a,b"}
    assert os.environ["HADOOP_USER_NAME"] == "flights"
    assert environment.child_variables({})["HADOOP_USER_NAME"] == "flights"
    monkeypatch.setenv("MY_FEAST_CLOUD", "hdfs://other:8020/lake")
    made(monkeypatch, "my_feast_cloud", login="weather")
    with pytest.raises(
        EnvironmentBroken, match=r"my_feast_cloud says weather, connection my_feast_on_prem says flights"
    ):
        lake_options("cloud")


def test_a_lake_of_folders_asks_nobody(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_FEAST_CLOUD", "file:///lakes/cloud")
    assert lake_options("cloud") == {}
    assert environment.load().raw("weather").place == "lake cloud"


def test_redis_asks_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionMissing, match="my_feast_redis"):
        redis_credentials()
    made(monkeypatch, "my_feast_redis", login="u")
    with pytest.raises(
        DataError, match=r'connection my_feast_redis: expected a password, or extra \{"auth": "entra"\}'
    ):
        redis_credentials()
    made(monkeypatch, "my_feast_redis", login="u", password=SECRET)
    assert redis_credentials().get_credentials() == ("u", SECRET)
    made(monkeypatch, "my_feast_redis", password=SECRET)
    assert redis_credentials().get_credentials() == (SECRET,)


def test_the_registry_asks_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionMissing, match="my_feast_registry"):
        registry_credential()
    made(monkeypatch, "my_feast_registry", extra={"sas_token": SAS})
    assert registry_credential().signature == SAS[1:]
