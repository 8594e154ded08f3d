"""Lists of every scalar type against Feast's own serializer, byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from hypothesis import given
from hypothesis import strategies as st

from feast_lakehouse.encoding import ARROW
from feast_lakehouse.errors import DataError
from feast_lakehouse.lists import LIST_TYPES
from feast_lakehouse.values import value_cells

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ELEMENTS: dict[str, tuple[st.SearchStrategy[Any], ValueType]] = {
    "int32": (st.integers(-(2**31), 2**31 - 1), ValueType.INT32_LIST),
    "int64": (st.integers(-(2**63), 2**63 - 1), ValueType.INT64_LIST),
    "float64": (st.floats(), ValueType.DOUBLE_LIST),
    "float32": (st.floats(width=32), ValueType.FLOAT_LIST),
    "bool": (st.booleans(), ValueType.BOOL_LIST),
    "string": (st.text(st.characters(exclude_categories=["Cs"]), max_size=200), ValueType.STRING_LIST),
    "bytes": (st.binary(max_size=200), ValueType.BYTES_LIST),
    "unix_timestamp": (
        st.integers(-(2**50), 2**52).map(lambda micros: EPOCH + timedelta(microseconds=micros)),
        ValueType.UNIX_TIMESTAMP_LIST,
    ),
}


def feasts(rows: list[list[Any] | None], element: str) -> list[bytes]:
    values = python_values_to_proto_values(rows, ELEMENTS[element][1]) if rows else []
    return [value.SerializeToString() for value in values]


def test_every_list_type_is_here() -> None:
    assert set(LIST_TYPES.values()) == set(ELEMENTS)


@pytest.mark.parametrize("element", sorted(ELEMENTS))
@given(data=st.data())
def test_lists_are_the_protobuf_bytes(element: str, data: st.DataObject) -> None:
    strategy = st.lists(ELEMENTS[element][0], max_size=data.draw(st.sampled_from([3, 40])))
    rows = data.draw(st.lists(st.none() | strategy, max_size=12))
    cut = data.draw(st.integers(0, len(rows)))
    column = pa.array(rows, pa.list_(ARROW[element]))
    assert value_cells(column, f"list<{element}>", "f").to_pylist() == feasts(rows, element)
    assert value_cells(column.slice(cut), f"list<{element}>", "f").to_pylist() == feasts(rows[cut:], element)


def test_an_empty_list_is_not_null() -> None:
    cells = value_cells(pa.array([[], None], pa.list_(pa.int64())), "list<int64>", "f").to_pylist()
    assert Value.FromString(cells[0]).WhichOneof("val") == "int64_list_val"
    assert cells[1] == b""


@pytest.mark.parametrize("kind", [pa.large_list(pa.int32()), pa.list_(pa.int32(), 2)])
def test_other_arrow_lists_are_taken(kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array([[1, 2]], kind), pa.array([None, [300, -1]], kind)])
    assert value_cells(column, "list<int64>", "f").to_pylist() == feasts([[1, 2], None, [300, -1]], "int64")


def test_bytes_under_a_null_row_are_not_read() -> None:
    offsets, values = pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, None, 9, 3])
    column = pa.ListArray.from_arrays(offsets, values, mask=pa.array([False, True, False]))
    assert value_cells(column, "list<int64>", "f").to_pylist() == feasts([[1, 2], None, [3]], "int64")


def test_more_numbers_than_one_piece() -> None:
    rows = [list(range(-150_000, 0)), [], list(range(150_000))]
    assert value_cells(pa.array(rows), "list<int64>", "f").to_pylist() == feasts(rows, "int64")


def test_a_null_element_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"every\.tags: expected no null inside a list<string>, found 1 in 3 elements"):
        value_cells(pa.array([["a", None], None, ["b"]]), "list<string>", "every.tags")


def test_an_element_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="f: expected list<int32>, found list"):
        value_cells(pa.array([[2**40]]), "list<int32>", "f")
