"""Chosen files of a table that is not in a local folder, through DuckDB."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import write_deltalake

from feast_lakehouse.delta import TableRef
from feast_lakehouse.scan import Scanner
from tests.services.azurite import azurite
from tests.services.stack import or_skip

PLACES = ["x=1 %20é", "x=1 %20é", "z", None]


def test_files_in_blob_storage_are_read_whatever_their_folders_are_called(tmp_path: Path) -> None:
    with or_skip(azurite(tmp_path)) as account:
        uri, options = f"{account.container('lake')}/table", account.storage_options
        table = pa.table({"number": [1, 2, 3, 4], "place": PLACES})
        write_deltalake(uri, table, partition_by=["place"], storage_options=options)
        ref = TableRef(uri, options)
        state = ref.state()
        with duckdb.connect() as connection:
            rows = Scanner(connection).relation(ref, state, state.files, ["number", "place"])
            found = connection.execute(f"SELECT number, place FROM {rows} ORDER BY number").fetchall()
    assert found == list(enumerate(PLACES, start=1))
