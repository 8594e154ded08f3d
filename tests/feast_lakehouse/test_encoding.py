"""Our bytes against Feast's own serializers and redis-py's packer, byte for byte."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from feast.infra.online_stores.helpers import _redis_key, _redis_key_prefix
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from feast_lakehouse.encoding import timestamp_cells, varints
from feast_lakehouse.errors import DataError
from feast_lakehouse.keys import key_cells, key_prefix, key_project
from feast_lakehouse.values import value_cells

INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
MICROS = st.integers(-(2**50), 2**52)
NANO_BYTES = st.sampled_from([0, 1, 2, 16, 17, 2_097, 2_098, 268_435, 268_436, 999_999])
USUAL_MICROS = st.builds(
    lambda seconds, micros: seconds * 1_000_000 + micros,
    st.integers(2**28, 2**35 - 1) | st.sampled_from([2**28, 2**35 - 1]),
    NANO_BYTES | st.integers(0, 999_999),
)
"""From 1978 to 3058: seconds of five bytes; nanos of every size."""
SCALARS: dict[str, tuple[st.SearchStrategy[Any], str]] = {
    "int32": (INT32, "int32_val"),
    "int64": (INT64, "int64_val"),
    "float64": (st.floats(), "double_val"),
    "float32": (st.floats(width=32), "float_val"),
    "bool": (st.booleans(), "bool_val"),
    "string": (TEXT, "string_val"),
    "bytes": (st.binary(max_size=300), "bytes_val"),
}
ARROW = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "bytes": pa.binary(),
}


@pytest.mark.parametrize("dtype", sorted(SCALARS))
@given(data=st.data())
def test_values_are_the_protobuf_bytes(dtype: str, data: st.DataObject) -> None:
    strategy, field = SCALARS[dtype]
    values = data.draw(st.lists(st.none() | strategy, max_size=20))
    cells = value_cells(pa.array(values, ARROW[dtype]), dtype, "f").to_pylist()
    expected = [Value() if v is None else Value(**{field: v}) for v in values]
    assert cells == [message.SerializeToString() for message in expected]


@given(st.lists(st.none() | MICROS, max_size=20))
def test_timestamp_features_are_whole_seconds_as_feast_writes_them(micros: list[int | None]) -> None:
    moments = [None if m is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=m) for m in micros]
    cells = value_cells(pa.array(moments, pa.timestamp("us", "UTC")), "unix_timestamp", "f").to_pylist()
    expected = [
        Value() if m is None else python_values_to_proto_values([m], ValueType.UNIX_TIMESTAMP)[0] for m in moments
    ]
    assert cells == [message.SerializeToString() for message in expected]


@given(st.lists(MICROS, max_size=20) | st.lists(USUAL_MICROS, min_size=1, max_size=20))
def test_event_times_are_protobuf_timestamps(micros: list[int]) -> None:
    expected = []
    for value in micros:
        message = Timestamp()
        message.FromDatetime(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value))
        expected.append(message.SerializeToString())
    assert timestamp_cells(pa.array(micros, pa.int64()).to_numpy()).to_pylist() == expected


KEY_STRATEGIES: dict[str, tuple[st.SearchStrategy[Any], str, pa.DataType]] = {
    "string": (TEXT, "string_val", pa.string()),
    "bytes": (st.binary(max_size=50), "bytes_val", pa.binary()),
    "int32": (INT32, "int32_val", pa.int32()),
    "int64": (INT64, "int64_val", pa.int64()),
}


@given(st.data())
def test_composite_keys_are_feasts_redis_keys(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text("abcxyz_é", min_size=1, max_size=9), min_size=1, max_size=4, unique=True))
    types = [data.draw(st.sampled_from(sorted(KEY_STRATEGIES))) for _ in names]
    rows = data.draw(st.lists(st.tuples(*(KEY_STRATEGIES[t][0] for t in types)), min_size=1, max_size=8))
    columns = [pa.array([row[i] for row in rows], KEY_STRATEGIES[t][2]) for i, t in enumerate(types)]
    keys = key_cells(columns, list(zip(names, types, strict=True)), "projé").to_pylist()
    for row, key in zip(rows, keys, strict=True):
        values = [Value(**{KEY_STRATEGIES[t][1]: v}) for t, v in zip(types, row, strict=True)]
        assert key == _redis_key("projé", EntityKey(join_keys=names, entity_values=values))
        assert key_project(key) == "projé".encode()
        assert key.startswith(key_prefix(names))
    assert key_prefix(names) == _redis_key_prefix(names)


def test_a_foreign_key_has_no_project() -> None:
    assert key_project(b"feast_lakehouse:demo/view:record") is None
    assert key_project(b"\x01") is None


def test_nan_is_not_null() -> None:
    cells = value_cells(pa.array([math.nan, None]), "float64", "f").to_pylist()
    assert math.isnan(Value.FromString(cells[0]).double_val)
    assert cells[1] == b""


def test_a_null_key_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="join key tailnum: expected no null, found 1 in 2 rows"):
        key_cells([pa.array(["a", None])], [("tailnum", "string")], "p")


def test_a_value_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="flights: expected int32, found int64"):
        value_cells(pa.array([2**40]), "int32", "flights")


def test_varints_of_the_largest_number() -> None:
    matrix, lengths = varints(pa.array([2**64 - 1], pa.uint64()).to_numpy())
    assert matrix[0].tobytes() == b"\xff" * 9 + b"\x01"
    assert lengths[0] == 10
