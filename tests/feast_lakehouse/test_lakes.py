from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from feast_lakehouse.errors import DataError
from feast_lakehouse.lakes import Lakes, StorageOptions
from feast_lakehouse.tables import write_interval
from tests.feast_lakehouse.lake_tables import SCHEMA, batches_of, read, rows_of
from tests.services.hdfs import Hdfs

LAKES = Lakes(
    {"on_prem": "hdfs://namenode:8020/lake/", "cloud": "abfss://lake@account.dfs.core.windows.net"},
    {"cloud": {"azure_storage_account_key": "c2VjcmV0"}},
)


def test_a_lake_address_becomes_a_uri_with_the_lakes_options() -> None:
    ref = LAKES.resolve("lake://cloud/features/airport_weather_hourly")
    assert ref.uri == "abfss://lake@account.dfs.core.windows.net/features/airport_weather_hourly"
    assert ref.storage_options == {"azure_storage_account_key": "c2VjcmV0"}
    assert LAKES.table("on_prem", "raw/flights").uri == "hdfs://namenode:8020/lake/raw/flights"


def test_secrets_do_not_show() -> None:
    assert "c2VjcmV0" not in repr(LAKES) + repr(LAKES.resolve("lake://cloud/x"))


def test_plain_addresses_pass_through() -> None:
    assert LAKES.resolve("s3://bucket/t").uri == "s3://bucket/t"
    assert LAKES.resolve("/data/t").uri == "/data/t"
    assert LAKES.resolve("data/t", Path("/repo")).uri == "/repo/data/t"
    inside = LAKES.resolve("abfss://lake@account.dfs.core.windows.net/other")
    assert inside.storage_options == {"azure_storage_account_key": "c2VjcmV0"}
    assert LAKES.resolve("abfss://lake@account.dfs.core.windows.net2/other").storage_options == {}


def test_unknown_lakes_and_paths_are_refused() -> None:
    with pytest.raises(DataError, match=r"Unknown lake 'azure'.*\['cloud', 'on_prem'\]"):
        LAKES.resolve("lake://azure/features/x")
    for path in ("", "a/../b", "a//b"):
        with pytest.raises(DataError, match="expected a path inside the lake"):
            LAKES.table("cloud", path)
    with pytest.raises(DataError, match=r"no root: \['gone'\]"):
        Lakes({}, {"gone": {}})


def test_from_config() -> None:
    lakes = Lakes.from_config(SimpleNamespace(lakes={"cloud": "file:///lakes/cloud"}, storage_options=None))
    assert lakes.resolve("lake://cloud/raw/weather").uri == "file:///lakes/cloud/raw/weather"


asked: list[str] = []


def credentials(lake: str) -> Mapping[str, str]:
    """What offline_store.credentials names."""
    asked.append(lake)
    return StorageOptions({"azure_storage_account_key": "c2VjcmV0"}, origin=f"connection {lake}")


def test_credentials_are_asked_for_once_and_only_when_a_lake_is_used() -> None:
    asked.clear()
    roots = {"on_prem": "/lakes/on_prem", "cloud": "abfss://lake@account.dfs.core.windows.net"}
    config = SimpleNamespace(
        lakes=roots,
        storage_options={"cloud": {"timeout": "9s", "azure_storage_account_key": "old"}},
        credentials=f"{__name__}.credentials",
    )
    lakes = Lakes.from_config(config)
    assert asked == []
    for _ in range(2):
        ref = lakes.resolve("abfss://lake@account.dfs.core.windows.net/features/x")
        assert ref.storage_options == {"timeout": "9s", "azure_storage_account_key": "c2VjcmV0"}
        assert ref.place == "lake cloud, connection cloud"
    assert asked == ["cloud"]
    assert "c2VjcmV0" not in repr(lakes) + repr(ref) + repr(ref.failed("x", OSError("key c2VjcmV0")))


@pytest.mark.parametrize("path", ["nowhere.function", "function", "math.no_such", "math.pi"])
def test_a_credentials_function_that_is_not_there_is_named(path: str) -> None:
    config = SimpleNamespace(lakes={"cloud": "/x"}, storage_options=None, credentials=path)
    with pytest.raises(DataError, match=rf"offline_store.credentials: expected module\.function, found '{path}'"):
        Lakes.from_config(config)


@pytest.mark.cluster
def test_a_name_service_may_be_told_by_options(hdfs_system: Hdfs) -> None:
    options = {
        "dfs.ha.namenodes.company": "nn1",
        "dfs.namenode.rpc-address.company.nn1": hdfs_system.uri.removeprefix("hdfs://"),
    }
    ref = Lakes({"on_prem": "hdfs://company/named"}, {"on_prem": options}).table("on_prem", "raw/flights")
    write_interval(ref, "2013-01-01", batches_of(rows_of("2013-01-01", 3)), schema=SCHEMA)
    assert len(read(ref)) == 3
