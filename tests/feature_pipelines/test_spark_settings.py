"""Settings of an order's Spark application: whose word counts, how the lakes are reached, and no secret among them."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines import environment
from feature_pipelines.azure_identity import access_of
from feature_pipelines.connection_text import Connection
from feature_pipelines.environment import Environment
from feature_pipelines.pools import SPARK, pools
from feature_pipelines.spark_link import application_page
from feature_pipelines.spark_settings import masters, of_connection, refuse_secrets, refused, spark_settings
from feature_pipelines.spark_storage import Reach, azure_settings

HOST = "account.dfs.core.windows.net"
VARIABLE = "MY_FEAST_CLOUD_KEY"
SECRET = "Y2FuYXJ5"
ON_PREM, CLOUD = "aircraft_daily", "airport_weather_hourly"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """The cluster environment as its file says, at addresses where nothing is."""
    storage = {"conn_type": "wasb", "login": "account", "password": SECRET, "host": "http://127.0.0.1:10000/account"}
    variables = {
        "MY_FEAST_ENVIRONMENT": "cluster",
        "MY_FEAST_HOME": str(tmp_path),
        "MY_FEAST_ON_PREM": "hdfs://namenode:8020/my_feast",
        "MY_FEAST_CLOUD": f"abfss://lake@{HOST}/my_feast",
        "MY_FEAST_SPARK_MASTER": "spark://127.0.0.1:7077",
        "AIRFLOW_CONN_MY_FEAST_CLOUD": json.dumps(storage),
        "AIRFLOW_CONN_MY_FEAST_ON_PREM": json.dumps({"conn_type": "hdfs", "extra": {"dfs.replication": 2}}),
        **{f"MY_FEAST_{name}": "127.0.0.1:1" for name in ("REDIS", "REGISTRY", "KAFKA")},
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return environment.load()


@pytest.fixture
def master() -> Any:
    """A port that accepts connections, as a master's does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"spark://127.0.0.1:{server.getsockname()[1]}"


def test_connection_over_file_over_what_is_sound(cluster: Environment, master: str) -> None:
    conf = spark_settings(cluster, ON_PREM, master, told={"spark.executor.memory": "3g"}, told_by="x").conf
    assert conf["spark.executor.memory"] == "3g"
    assert conf["spark.driver.memory"] == "512m"
    assert conf["spark.task.maxFailures"] == "4"
    assert conf["spark.driver.host"] == conf["spark.driver.bindAddress"] == "127.0.0.1"
    assert all(isinstance(value, str) for value in conf.values())


def test_only_the_lakes_of_the_table_are_reached(cluster: Environment, master: str) -> None:
    on_prem = spark_settings(cluster, ON_PREM, master, told={}, told_by="x")
    assert on_prem.conf["spark.hadoop.dfs.replication"] == "2"
    assert not any("azure" in name for name in on_prem.conf)
    assert VARIABLE not in on_prem.variables
    cloud = spark_settings(cluster, CLOUD, master, told={}, told_by="x")
    assert cloud.conf[f"spark.hadoop.fs.azure.account.key.{HOST}"] == f"${{env.{VARIABLE}}}"
    assert cloud.variables[VARIABLE] == SECRET
    assert SECRET not in repr(cloud)
    assert not any(SECRET in value for value in cloud.conf.values())


def test_one_machine_needs_neither_a_master_nor_a_storage_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_FEAST_HOME", str(tmp_path))
    settings = spark_settings(environment.load(), CLOUD, "local[2]", told={}, told_by="x")
    assert not any("azure" in name for name in settings.conf)
    assert set(settings.variables) == {"PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"login": "account", "password": SECRET},
            {"account.auth.type": "SharedKey", "account.key": "${env.MY_FEAST_X_KEY}"},
        ),
        (
            {"extra": {"sas_token": f"?sig={SECRET}"}},
            {"account.auth.type": "SAS", "sas.fixed.token": "${env.MY_FEAST_X_SAS}"},
        ),
        (
            {"login": "client", "password": SECRET, "extra": {"tenant_id": "tenant"}},
            {
                "account.auth.type": "OAuth",
                "account.oauth.provider.type": "org.apache.hadoop.fs.azurebfs.oauth2.ClientCredsTokenProvider",
                "account.oauth2.client.id": "client",
                "account.oauth2.client.endpoint": "https://login.microsoftonline.com/tenant/oauth2/token",
                "account.oauth2.client.secret": "${env.MY_FEAST_X_CLIENT_SECRET}",
            },
        ),
        (
            {},
            {
                "account.auth.type": "OAuth",
                "account.oauth.provider.type": "org.apache.hadoop.fs.azurebfs.oauth2.MsiTokenProvider",
            },
        ),
        (
            {"login": "client", "extra": {"identity": "workload", "tenant_id": "tenant"}},
            {
                "account.auth.type": "OAuth",
                "account.oauth.provider.type": "org.apache.hadoop.fs.azurebfs.oauth2.WorkloadIdentityTokenProvider",
                "account.oauth2.client.id": "client",
                "account.oauth2.msi.tenant": "tenant",
            },
        ),
    ],
)
def test_every_way_into_a_storage_account(fields: dict[str, Any], expected: dict[str, str]) -> None:
    found = azure_settings(access_of(Connection("my_feast_cloud", **fields)), HOST, "x")
    assert found.conf == {
        "spark.submit.callSystemExitOnMainExit": "true",
        **{f"spark.hadoop.fs.azure.{name}.{HOST}": value for name, value in expected.items()},
    }
    assert SECRET not in str(found)
    named = {value[6:-1] for value in expected.values() if value.startswith("${env.")}
    assert set(found.variables) == named
    assert all(SECRET in value for value in found.variables.values())


def test_a_key_that_is_none_is_refused_before_hadoop_shows_it() -> None:
    access = access_of(Connection("my_feast_cloud", login="account", password="no base64"))
    with pytest.raises(DataError, match="connection my_feast_cloud: the account key is not base64") as refusal:
        azure_settings(access, HOST, "x")
    assert "no base64" not in str(refusal.value).replace("not base64", "")


def test_azures_command_line_logs_nobody_in_on_a_cluster() -> None:
    access = access_of(Connection("my_feast_cloud", extra={"identity": "cli"}))
    with pytest.raises(DataError, match="connection my_feast_cloud: identity 'cli' is of no use to Spark"):
        azure_settings(access, HOST, "x")


@pytest.mark.parametrize(
    "name",
    [
        f"spark.hadoop.fs.azure.account.key.{HOST}",
        f"spark.hadoop.fs.azure.account.oauth2.client.secret.{HOST}",
        f"spark.hadoop.fs.azure.sas.fixed.token.{HOST}",
        "spark.ssl.keyPassword",
        "spark.hadoop.some.token",
    ],
)
def test_a_secret_among_the_settings_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(DataError, match=r"connection x: .*would be seen") as refusal:
        refuse_secrets({name: SECRET, "spark.cores.max": "2"}, told_by="connection x")
    assert name in str(refusal.value)
    assert SECRET not in str(refusal.value)
    assert "cores" not in str(refusal.value)
    refuse_secrets({name: "${env.X}"}, told_by="connection x")


def test_settings_that_only_sound_like_secrets_are_none() -> None:
    refuse_secrets(
        {"spark.hadoop.fs.azure.sas.token.provider.type.x": "a.Class", "spark.kerberos.keytab": "/k"}, told_by="x"
    )


@pytest.mark.parametrize("form", ["host and port", "scheme in the host", "scheme as the type", "one text"])
def test_a_connection_names_the_master_that_airflow_reads_from_it(
    cluster: Environment, master: str, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

    host, port = masters(master)[0]
    forms: dict[str, dict[str, Any]] = {
        "host and port": {"conn_type": "spark", "host": f"spark://{host}", "port": port},
        "scheme in the host": {"conn_type": "spark", "host": master},
        "scheme as the type": {"conn_type": "spark", "host": host, "port": port},
        "one text": {"conn_type": "spark", "host": master, "extra": {"conf": {"spark.cores.max": "1"}}},
    }
    told = forms[form]
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(told))
    found, _ = of_connection(cluster, ON_PREM, Connection("spark_default", **told))
    assert found == master == SparkSubmitHook()._connection["master"]


def test_masters_are_hosts_with_ports() -> None:
    assert masters("spark://a:7077,b:7078") == [("a", 7077), ("b", 7078)]
    for wrong in ("spark://a", "a:7077", "spark://", "spark://a:b"):
        with pytest.raises(DataError, match="expected spark://host:7077"):
            masters(wrong)


def test_a_master_that_does_not_answer_is_told_at_once(cluster: Environment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told = Connection("spark_default", "spark", host="127.0.0.1", port=port)
    with pytest.raises(TransportError, match=rf"connection spark_default: no Spark master answers at .*:{port}"):
        of_connection(cluster, ON_PREM, told)


def test_one_of_several_masters_is_enough(cluster: Environment, master: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        dead = server.getsockname()[1]
    both = f"spark://127.0.0.1:{dead},{master.removeprefix('spark://')}"
    found, settings = of_connection(cluster, ON_PREM, Connection("spark_default", "spark", host=both))
    assert found == both
    assert settings.conf["spark.driver.host"] == "127.0.0.1"


def test_cluster_mode_is_refused(cluster: Environment) -> None:
    told = Connection("spark_default", "spark", host="spark://h:1", extra={"deploy-mode": "cluster"})
    with pytest.raises(DataError, match="client mode only"):
        of_connection(cluster, ON_PREM, told)


def test_a_refusal_names_the_connection_and_what_the_workers_need() -> None:
    told = str(refused(CLOUD, "Storage refuses: 403"))
    assert told.startswith("airport_weather_hourly: Storage refuses: 403")
    assert "connection my_feast_cloud" in told
    assert VARIABLE in told
    assert "on_prem" not in told


def test_the_pool_is_as_large_as_the_file_says(cluster: Environment) -> None:
    assert pools()[SPARK]["slots"] == cluster.spark["applications"] == 2
    needed = int(cluster.spark["conf"]["spark.cores.max"]) * cluster.spark_applications
    assert needed <= 4, "more than two workers of two cores"


def test_the_page_of_an_application() -> None:
    assert application_page("spark://h:7077", None, "app-1") == "http://h:8080/app/?appId=app-1"
    assert application_page("spark://h:7077", "https://spark.example/", "a") == "https://spark.example/app/?appId=a"
    assert application_page("local[2]", None, "local-1") == ""


def test_the_later_of_two_wins() -> None:
    assert Reach({"a": "1", "b": "1"}, {"x": "1"}) | Reach({"b": "2"}) == Reach({"a": "1", "b": "2"}, {"x": "1"})
