from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from feast_lakehouse.errors import DataError
from feast_lakehouse.lakes import Lakes

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
