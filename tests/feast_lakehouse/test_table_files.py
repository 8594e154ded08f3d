"""DuckDB over tables on real HDFS and Azurite: the same rows as from a folder, and a lost storage told as what it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import TransportError
from feast_lakehouse.files import Files
from feast_lakehouse.newest import Memory, NewestRows
from feast_lakehouse.view import View
from tests.services.azurite import azurite
from tests.services.downloads import Unavailable
from tests.services.hdfs import hdfs

DAY = datetime(2020, 1, 1, tzinfo=UTC)
VIEW = View("p", "v", (("id", "string"), ("day", "string")), (("x", "float64"),), "ts")
KEYS = 20_000


@pytest.fixture(scope="module", params=["hdfs", "azurite"])
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TableRef]:
    folder = tmp_path_factory.mktemp(request.param)
    try:
        if request.param == "hdfs":
            with hdfs(folder) as system:
                yield TableRef(f"{system.uri}/lake/t")
        else:
            with azurite(folder) as account:
                yield TableRef(f"{account.container('lake')}/lake/t", account.storage_options)
    except Unavailable as reason:
        pytest.skip(f"{request.param}: {reason}")


def write(ref: TableRef) -> None:
    for part in range(3):
        table = pa.table(
            {
                "id": [f"key-{n}" for n in range(part * 5_000, part * 5_000 + KEYS)],
                "day": [f"a b/{part % 2}%"] * KEYS,
                "x": np.arange(KEYS) + part / 4,
                "ts": pa.array([DAY + timedelta(seconds=part)] * KEYS, pa.timestamp("us", "UTC")),
            }
        )
        options = dict(ref.storage_options) or None
        write_deltalake(ref.uri, table, partition_by=["day"], mode="append", storage_options=options)


def newest(ref: TableRef) -> list[tuple[str, str, float]]:
    with NewestRows(VIEW, Memory(), whole=Files.whole(ref, ref.state())) as rows:
        found = [row for batch in rows.every() for row in batch.to_pylist()]
    return sorted((row["id"], row["day"], row["x"]) for row in found)


@pytest.mark.cluster
def test_the_rows_are_those_of_a_folder(remote: TableRef, tmp_path: Path) -> None:
    local = TableRef(str(tmp_path / "t"))
    write(local)
    write(remote)
    assert newest(remote) == newest(local)


@pytest.mark.cluster
def test_a_file_that_is_gone_is_an_outage_of_that_table_not_a_broken_view(remote: TableRef) -> None:
    ref = TableRef(f"{remote.uri}-gone", remote.storage_options)
    write(ref)
    state = ref.state()
    ref.filesystem().delete_file(next(iter(state.files)))
    with (
        NewestRows(VIEW, Memory(), whole=Files.whole(ref, state)) as rows,
        pytest.raises(TransportError, match=f"{ref.uri}: reading"),
    ):
        list(rows.every())
