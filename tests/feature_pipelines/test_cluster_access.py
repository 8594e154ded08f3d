"""The cluster environment's own file against real systems: every credential comes from a connection and shows nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from feast_lakehouse import engine
from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines import environment, registering
from feature_pipelines.builds import expected_builds
from feature_pipelines.environment import Environment
from feature_pipelines.landing import land_day
from feature_pipelines.orders import read_order, write_order
from feature_pipelines.publishing import publish_order
from feature_pipelines.schemas import feature_schema
from feature_pipelines.sources import Source
from feature_pipelines.sources.flights import Flights
from feature_pipelines.sources.weather import Weather
from spark_jobs.features import feature_tables
from spark_jobs.interval import Interval
from spark_jobs.report import IntervalResult, Report
from tests.feast_lakehouse.lake_tables import parquet, write
from tests.feature_pipelines.staging import weather_row
from tests.services.azurite import Azurite, azurite
from tests.services.certificates import Authority
from tests.services.hdfs import Hdfs, hdfs
from tests.services.programs import free_port
from tests.services.redis_secured import RedisSecured, redis_secured
from tests.services.stack import or_skip

WINDOW = Interval.parse("2013-01-02", "2013-01-04")
DAYS = ["2013-01-02", "2013-01-03"]
Make = Callable[..., Any]
HOUR = datetime(2013, 1, 2, 11, tzinfo=UTC)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with or_skip(azurite(tmp_path_factory.mktemp("azurite"))) as started:
        started.container("lake")
        started.container("registry")
        yield started


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSecured]:
    with or_skip(redis_secured(tmp_path_factory.mktemp("secured"))) as started:
        yield started


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hdfs]:
    with or_skip(hdfs(tmp_path_factory.mktemp("hdfs"))) as started:
        started.shell("-mkdir", "/lake")
        started.shell("-chown", "flights", "/lake")
        yield started


def give(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "generic", **fields}))


@pytest.fixture(params=["folder", pytest.param("hdfs", marks=pytest.mark.cluster)])
def cluster(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    account: Azurite,
    secured: RedisSecured,
) -> Environment:
    """The environment as a task has it; the on-prem lake is HDFS where the test says so."""
    name = f"{tmp_path.name}"
    on_prem = f"file://{tmp_path}/on_prem"
    if request.param == "hdfs":
        on_prem = f"{request.getfixturevalue('system').uri}/lake/{name}"
        give(monkeypatch, "my_feast_on_prem", login="flights")
    values = {
        "HOME": str(tmp_path / "home"),
        "ENVIRONMENT": "cluster",
        "ON_PREM": on_prem,
        "CLOUD": f"abfss://lake@{account.account}.dfs.core.windows.net/{name}",
        "REGISTRY": f"{account.blob_url}/registry/{name}.db",
        "REDIS": f"{secured.address},ssl=true,ssl_ca_certs={secured.ca}",
        "SPARK_MASTER": "local[2]",
        "KAFKA": "127.0.0.1:9",
    }
    for variable, value in values.items():
        monkeypatch.setenv(f"MY_FEAST_{variable}", value)
    monkeypatch.setattr(environment, "_hadoop_users", {})
    monkeypatch.setenv("HADOOP_USER_NAME", "nobody")  # and afterwards it is again what it was
    storage = {"host": account.blob_url, "login": account.account, "password": account.key}
    give(monkeypatch, "my_feast_cloud", **storage)
    give(monkeypatch, "my_feast_registry", **storage)
    give(monkeypatch, "my_feast_redis", login=secured.user, password=secured.password)
    return environment.load()


def stage(env: Environment, uri: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """What Spark leaves, with the empty blobs that hadoop-azure makes for folders on an account without them."""
    order = read_order(env, uri)
    ref, folder = env.features(order.table), f"staging/{order.order_id}/0123456789ab"
    schema = feature_schema(feature_tables()[order.table])
    for day, found in rows.items():
        write(
            ref,
            f"{folder}/interval_start={day}/part-00000.snappy.parquet",
            parquet(pa.Table.from_pylist(found, schema=schema)),
        )
        if ref.uri.startswith("abfss"):
            for marker in (folder, f"{folder}/interval_start={day}"):
                write(ref, marker, b"")
    results = {day: IntervalResult(build, len(rows.get(day, []))) for day, build in order.builds.items()}
    text = Report(order.order_id, order.table, f"{ref.uri}/{folder}", results, (), 1.0).to_json()
    write(ref, f"staging/{order.order_id}/report.json/part-00000.txt", text.encode())


def run(env: Environment, source: Source, table: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Land twice, order, stage, publish twice: the second time is nothing new."""
    for day in WINDOW.days():
        assert land_day(env, source, day).changed
        assert not land_day(env, source, day).changed
    uri = write_order(env, table, WINDOW, attempt="1")
    assert uri
    assert write_order(env, table, WINDOW, attempt="1") == uri
    stage(env, uri, rows)
    assert publish_order(env, uri).changed
    assert not publish_order(env, uri).changed
    assert env.features(table).live_builds() == expected_builds(env, table, WINDOW.days())
    assert write_order(env, table, WINDOW, attempt="2") is None


def test_from_landing_to_serving_on_the_systems_of_the_cluster(
    cluster: Environment,
    weather: Make,
    flights: Make,
    secured: RedisSecured,
    account: Azurite,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    env = cluster
    observed: Weather = weather({}, {"day": 3, "time_hour": "2013-01-03T10:00:00Z"})
    flown: Flights = flights({}, {"flight": 2, "dep_time": 530, "dep_delay": 15})
    run(env, observed, "airport_weather_hourly", {DAYS[0]: [weather_row("2013-01-02T11:00:00")], DAYS[1]: []})
    hour = {"origin": "EWR", "event_timestamp": HOUR, "departures": 2, "mean_dep_delay": 8.5}
    day_before = Interval.parse("2012-12-31", "2013-01-02")
    for day in day_before.days():
        land_day(env, flown, day)
    run(env, flown, "airport_hourly", {DAYS[0]: [hour], DAYS[1]: []})

    assert len(registering.apply()) == 14
    assert registering.apply() == []
    store = env.feature_store()
    for view in ("airport_weather_hourly", "airport_hourly"):
        assert engine.materialize(store, view).keys_written == 1
        engine.verify(store, view)
    served = ["airport_weather_hourly:temp", "airport_hourly:departures"]
    assert store.get_online_features(served, [{"origin": "EWR"}]).to_dict() == {
        "origin": ["EWR"],
        "temp": [39.0],
        "departures": [2],
    }
    asked = pd.DataFrame({"origin": ["EWR", "JFK"], "event_timestamp": [HOUR, HOUR]})
    trained = store.get_historical_features(asked, served).to_df()
    assert trained["departures"].tolist()[0] == 2
    assert trained["temp"].tolist()[0] == 39.0
    assert trained["departures"].isna().tolist() == [False, True]
    _no_secret_anywhere(env, caplog.text, [secured.password, account.key])


def _no_secret_anywhere(env: Environment, logged: str, secrets: list[str]) -> None:
    registry = env.feature_store().registry.proto().SerializeToString()
    for secret in secrets:
        assert secret not in logged
        assert secret.encode() not in registry
        assert secret not in repr(env) + repr(env.lakes) + repr(env.features("airport_hourly"))
        for table in ("airport_weather_hourly", "airport_hourly"):
            assert secret not in json.dumps(env.features(table).open().history(), default=str)


@pytest.mark.parametrize("cluster", ["folder"], indirect=True)
def test_wrong_credentials_name_the_connection(
    cluster: Environment, monkeypatch: pytest.MonkeyPatch, account: Azurite, secured: RedisSecured
) -> None:
    wrong = "AAAA" + account.key[4:]
    give(monkeypatch, "my_feast_cloud", host=account.blob_url, login=account.account, password=wrong)
    with pytest.raises(
        DataError, match=r"refused the credential.*Check lake cloud, connection my_feast_cloud\."
    ) as cloud:
        environment.load().raw("weather").exists()
    give(monkeypatch, "my_feast_registry", host=account.blob_url, login=account.account, password=wrong)
    with pytest.raises(DataError, match=r"Check registry, connection my_feast_registry\.") as registry:
        environment.load().feature_store().list_feature_views()
    assert wrong not in str(cloud.value) + str(registry.value)


@pytest.mark.parametrize("cluster", ["folder"], indirect=True)
def test_what_redis_refuses_names_the_connection(
    cluster: Environment,
    monkeypatch: pytest.MonkeyPatch,
    secured: RedisSecured,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    registering.apply()
    give(monkeypatch, "my_feast_redis", login=secured.user, password="wrong-canary")
    with pytest.raises(DataError, match=r"invalid username-password.*Check connection my_feast_redis\.") as refused:
        engine.online_version(cluster.feature_store(), "airport_hourly")
    assert "wrong-canary" not in str(refused.value)
    authority = Authority(tmp_path_factory.mktemp("tls"))
    old = authority.issue("redis", expired=True)
    with redis_secured(tmp_path_factory.mktemp("expired"), certificate=old, ca=authority.ca) as expired:
        monkeypatch.setenv("MY_FEAST_REDIS", f"{expired.address},ssl=true,ssl_ca_certs={expired.ca}")
        with pytest.raises(DataError, match=r"certificate has expired.*Check connection my_feast_redis\."):
            engine.online_version(environment.load().feature_store(), "airport_hourly")
    monkeypatch.setenv("MY_FEAST_REDIS", f"127.0.0.1:{free_port()},ssl=true")
    with pytest.raises(TransportError, match=r"refused.*Check connection my_feast_redis\."):
        engine.online_version(environment.load().feature_store(), "airport_hourly")


def test_the_environments_differ_in_nothing_but_where_things_are() -> None:
    folder = environment.CHECKOUT / "feature_repo" / "environments"
    texts = {path.parent.name: path.read_text() for path in folder.glob("*/feature_store.yaml")}
    assert set(texts) == {"embedded", "cluster", "azure"}
    for text in texts.values():
        content = yaml.safe_load(text)
        assert content["project"] == "my_feast"
        assert set(content["offline_store"]["lakes"]) == {"on_prem", "cloud"}
        assert content["batch_engine"]["type"] == "feast_lakehouse.engine.LakehouseEngine"
        assert content["registry"]["serve_features_while_materializing"] is True
        assert not {"password", "account_key", "sas_token", "storage_options"} & set(_keys(content))


def _keys(content: Any) -> Iterator[str]:
    for name, value in content.items() if isinstance(content, dict) else ():
        yield name
        yield from _keys(value)
