"""One Azurite and one HDFS for all tests of this folder that want one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
