"""The newest row of each key out of odd files: names and values of any kind, later columns, ties, more rows than memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, VersionUnavailable
from feast_lakehouse.files import Files
from feast_lakehouse.newest import Memory, NewestRows
from feast_lakehouse.view import View

DAY = datetime(2020, 1, 1, tzinfo=UTC)
VIEW = View("p", "v", (("id", "string"),), (("x", "float64"),), "ts")
SCHEMA = {"id": pa.string(), "ts": pa.timestamp("us", "UTC"), "x": pa.float64()}


def table(*rows: tuple[Any, ...], columns: dict[str, pa.DataType] | None = None) -> pa.Table:
    types = columns or SCHEMA
    return pa.table({n: pa.array([r[i] for r in rows], t) for i, (n, t) in enumerate(types.items())})


def newest(ref: TableRef, view: View = VIEW, memory: Memory | None = None) -> list[tuple[Any, ...]]:
    return newest_of(Files.whole(ref, ref.state()), view, memory)


def newest_of(files: Files, view: View = VIEW, memory: Memory | None = None) -> list[tuple[Any, ...]]:
    names = [name for name, _ in (*view.keys, *view.features)]
    with NewestRows(view, memory or Memory(), whole=files) as rows:
        found = [row for batch in rows.every() for row in batch.select(names).to_pylist()]
    return sorted(tuple(row[name] for name in names) for row in found)


def test_of_two_rows_with_one_event_time_the_one_in_the_later_file_counts(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    for value in range(6):
        write_deltalake(ref.uri, table(("a", DAY, float(value)), ("b", DAY, -float(value))), mode="append")
    state = ref.state()
    last = newest_of(Files(ref, state, frozenset({max(state.files)})))
    assert newest(ref) == newest(ref, memory=Memory(threads=1)) == last


def test_negative_zero_infinities_and_nulls_of_the_newest_row_stay(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    later = DAY + timedelta(days=1)
    write_deltalake(ref.uri, table(("a", DAY, 1.0), ("b", DAY, 2.0), ("c", DAY, 3.0)))
    write_deltalake(ref.uri, table(("a", later, -0.0), ("b", later, None), ("c", later, -np.inf)), mode="append")
    found = dict(newest(ref))
    assert (np.signbit(found["a"]), found["b"], found["c"]) == (True, None, -np.inf)


def test_times_before_1970_are_in_order(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    moments = [datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC), datetime(1950, 1, 1, tzinfo=UTC)]
    write_deltalake(ref.uri, table(*[("a", moment, float(i)) for i, moment in enumerate(moments)]))
    assert newest(ref) == [("a", 1.0)]


@pytest.mark.parametrize("folder", ["a'quote", "with space", "ünï"])
def test_folders_and_partition_values_of_any_kind(tmp_path: Path, folder: str) -> None:
    ref = TableRef(str(tmp_path / folder))
    columns = {"place": pa.string(), "ts": pa.timestamp("us", "UTC"), "x": pa.float64()}
    odd = ["a b:c/d%é*", "it's", "[x]?", "100%25"]
    rows = [(place, DAY + timedelta(microseconds=i), float(i)) for i, place in enumerate(odd)]
    write_deltalake(ref.uri, table(*rows, columns=columns), partition_by=["place", "ts"])
    view = View("p", "v", (("place", "string"),), (("x", "float64"),), "ts")
    assert newest(ref, view) == sorted((place, float(i)) for i, place in enumerate(odd))


def test_a_column_added_later_is_null_in_the_files_before(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    write_deltalake(ref.uri, table(("a", DAY, 1.0)))
    wider = {**SCHEMA, "y": pa.int64()}
    write_deltalake(ref.uri, table(("b", DAY, 2.0, 7), columns=wider), mode="append", schema_mode="merge")
    view = View("p", "v", (("id", "string"),), (("x", "float64"), ("y", "int64")), "ts")
    assert newest(ref, view) == [("a", 1.0, None), ("b", 2.0, 7)]
    only_old = Files(ref, ref.state(), frozenset(ref.state(0).files))
    with NewestRows(view, Memory(), whole=only_old) as rows:
        assert [batch.column("y").to_pylist() for batch in rows.every()] == [[None]]


def test_a_column_that_the_table_has_not_is_named(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    write_deltalake(ref.uri, table(("a", DAY, 1.0)))
    view = View("p", "v", (("id", "string"),), (("z", "float64"),), "ts")
    with pytest.raises(DataError, match=r"expected columns \['z'\]"):
        newest(ref, view)


@pytest.mark.parametrize("key", ["rows", "lost", "file", "row", "name"])
@pytest.mark.parametrize("partition_by", [None, ["place"]])
def test_a_key_may_have_any_name(tmp_path: Path, key: str, partition_by: list[str] | None) -> None:
    ref = TableRef(str(tmp_path / "t"))
    columns = {key: pa.string(), "ts": pa.timestamp("us", "UTC"), "x": pa.float64(), "place": pa.string()}
    view = View("p", "v", ((key, "string"),), (("x", "float64"), ("place", "string")), "ts")
    rows = [("a", DAY, 1.0, "p"), ("b", DAY, 2.0, "q")]
    write_deltalake(ref.uri, table(*rows, columns=columns), partition_by=partition_by)
    before = Files.whole(ref, ref.state())
    write_deltalake(ref.uri, table(*rows[:1], columns=columns), partition_by=partition_by, mode="overwrite")
    assert newest_of(before, view) == [("a", 1.0, "p"), ("b", 2.0, "q")]
    with NewestRows(view, Memory(), whole=Files.whole(ref, ref.state()), removed=[before]) as found:
        assert (found.find_retractions(), found.retracted_since(0)) == (1, 1)
        assert [batch.to_pylist() for batch in found.gone()] == [[{key: "b"}]]


@pytest.mark.parametrize("name", ["file_index", "FILE_ROW_NUMBER", "__row", "__rows"])
def test_a_column_that_rows_would_be_numbered_by_is_refused(tmp_path: Path, name: str) -> None:
    ref = TableRef(str(tmp_path / "t"))
    taken = {**SCHEMA, name: pa.int64()}
    write_deltalake(ref.uri, table(("a", DAY, 1.0, 7), columns=taken))
    with pytest.raises(
        DataError, match=rf"{ref.uri}: expected no column called .*file_index.*found \['{name}'\].*Rename"
    ):
        newest(ref)


@pytest.mark.parametrize("name", ["file_index", "file_row_number"])
def test_once_it_is_renamed_the_table_is_read_and_a_view_may_keep_the_name(tmp_path: Path, name: str) -> None:
    ref = TableRef(str(tmp_path / "t"))
    write_deltalake(ref.uri, table(("a", DAY, 1.0, 7), columns={**SCHEMA, name: pa.int64()}))
    before = Files.whole(ref, ref.state())
    renamed = table(("a", DAY, 2.0, 9), columns={**SCHEMA, "y": pa.int64()})
    write_deltalake(ref.uri, renamed, mode="overwrite", schema_mode="overwrite")
    view = View("p", "v", (("id", "string"),), ((name, "int64"),), "ts", columns=((name, "y"),))
    with NewestRows(view, Memory(), whole=Files.whole(ref, ref.state()), removed=[before]) as found:
        assert found.find_retractions() == 0
        assert [row[name] for batch in found.every() for row in batch.to_pylist()] == [9]


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    write_deltalake(ref.uri, table(("a", DAY, 1.0)))
    old = ref.state()
    write_deltalake(ref.uri, table(("b", DAY, 1.0)), mode="overwrite")
    with pytest.raises(VersionUnavailable):
        NewestRows(VIEW, Memory(), whole=Files(ref, ref.state(), frozenset(old.files)))


def test_more_keys_than_memory_are_spilled(tmp_path: Path) -> None:
    ref = TableRef(str(tmp_path / "t"))
    count = 600_000
    keys = pa.array([f"{n:0>60}" for n in range(count)])
    moments = pa.array(np.arange(count), pa.timestamp("us", "UTC"))
    for _ in range(2):
        rows = pa.table({"id": keys, "ts": moments, "x": pa.array(np.ones(count))})
        write_deltalake(ref.uri, rows, mode="append")
    with NewestRows(VIEW, Memory(limit="64MB"), whole=Files.whole(ref, ref.state())) as rows:
        assert sum(len(batch) for batch in rows.every()) == count
