"""One Azurite and one HDFS for all tests of this folder that want one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from feast_lakehouse.delta import TableRef
from tests.services.azurite import Azurite, azurite
from tests.services.hdfs import Hdfs, hdfs
from tests.services.stack import or_skip


@pytest.fixture(scope="session")
def azurite_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with or_skip(azurite(tmp_path_factory.mktemp("azurite"))) as account:
        yield account


@pytest.fixture(scope="session")
def hdfs_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hdfs]:
    with or_skip(hdfs(tmp_path_factory.mktemp("hdfs"))) as system:
        yield system


LAKE_KINDS = ["path", "file", "azurite", pytest.param("hdfs", marks=pytest.mark.cluster)]
"""A test that takes `lake` runs on each."""

_numbers = itertools.count()


@pytest.fixture(params=LAKE_KINDS)
def lake(request: pytest.FixtureRequest) -> TableRef:
    """The root of an empty lake, as a reference that tables are made from with `table_in`."""
    if request.param == "azurite":
        account: Azurite = request.getfixturevalue("azurite_account")
        return TableRef(f"{account.container(f'lake{next(_numbers)}')}/folder", account.storage_options)
    if request.param == "hdfs":
        system: Hdfs = request.getfixturevalue("hdfs_system")
        return TableRef(f"{system.uri}/lake{next(_numbers)}")
    folder = request.getfixturevalue("tmp_path") / "lake"
    return TableRef(f"file://{folder}" if request.param == "file" else str(folder))


@pytest.fixture
def ref(lake: TableRef) -> TableRef:
    """A table that is not there yet."""
    return TableRef(f"{lake.uri}/features/aircraft_daily", lake.storage_options)
