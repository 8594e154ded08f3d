"""Arrow columns to the bytes Feast keeps in Redis, without a Python loop over rows.

Layouts: protobuf `feast/types/Value.proto` and `google/protobuf/timestamp.proto`. A "cell" is one value's bytes; cells
are a pa.BinaryArray without nulls, or a pa.FixedSizeBinaryArray where all have one length, which joins faster.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feast_lakehouse.errors import DataError

Bytes2D = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

MICROS = 1_000_000
_SHORT = 1 << 12
"""Lengths below this are looked up in a table instead of being sorted."""
_TAG = {
    "bytes": 0x0A,
    "string": 0x12,
    "int32": 0x18,
    "int64": 0x20,
    "float64": 0x29,
    "float32": 0x35,
    "bool": 0x38,
    "unix_timestamp": 0x40,
}
ARROW: dict[str, pa.DataType] = {
    "bytes": pa.binary(),
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "unix_timestamp": pa.timestamp("us", "UTC"),
}
"""The Arrow type that stands for a scalar Feast type."""

SCALAR_TYPES = frozenset(_TAG)
"""Scalar Feast value types a feature may have."""


def conform(column: pa.Array | pa.ChunkedArray, dtype: str, name: str) -> pa.Array:
    """The column as one array of the Arrow type that stands for a Feast type. Raises DataError if a value does not fit."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    try:
        return whole.cast(ARROW[dtype])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{name}: expected {dtype}, found {whole.type}: {error}") from error


def ragged(matrix: Bytes2D, lengths: Ints) -> pa.Array:
    """Cells from a byte matrix: row i is its first lengths[i] bytes."""
    if len(lengths) and (lengths == lengths[0]).all():
        return fixed(matrix[:, : lengths[0]])
    return picked(matrix, np.arange(matrix.shape[1]) < lengths[:, None])


def picked(matrix: Bytes2D, keep: npt.NDArray[np.bool_]) -> pa.Array:
    """Cells from a byte matrix: row i is those of its bytes that are to be kept."""
    return _binary(matrix[keep], keep.sum(axis=1))


def _binary(data: npt.NDArray[np.uint8], lengths: Ints) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(
        pa.binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    )


def fixed(matrix: Bytes2D) -> pa.Array:
    """Cells of one length from a byte matrix: row i is all of its bytes."""
    data = pa.py_buffer(np.ascontiguousarray(matrix).reshape(-1))
    return pa.Array.from_buffers(pa.binary(matrix.shape[1]), len(matrix), [None, data])


def varints(values: npt.NDArray[np.uint64]) -> tuple[Bytes2D, Ints]:
    """Protobuf base-128 varints: a byte matrix as wide as the longest, and the number of bytes used in each row."""
    width = max(1, -(-int(values.max()).bit_length() // 7)) if len(values) else 1
    lengths = np.ones(len(values), np.int64)
    matrix = np.empty((len(values), width), np.uint8)
    for k in range(width):
        group = values >> np.uint64(7 * k)
        matrix[:, k] = group & np.uint64(0x7F)
        if k:
            more = group > 0
            lengths += more
            matrix[:, k - 1] |= more.view(np.uint8) << 7
    return matrix, lengths


def _tagged_varints(tag: int, values: npt.NDArray[Any]) -> pa.Array:
    matrix, lengths = varints(values.astype(np.int64).view(np.uint64))
    return ragged(np.hstack([np.full((len(matrix), 1), tag, np.uint8), matrix]), lengths + 1)


def _tagged_little_endian(tag: int, values: npt.NDArray[Any]) -> pa.Array:
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.dtype.itemsize)
    tagged = np.empty((len(raw), 1 + raw.shape[1]), np.uint8)
    tagged[:, 0] = tag
    tagged[:, 1:] = raw
    return fixed(tagged)


def _tagged_bytes(tag: int, values: pa.Array) -> pa.Array:
    payload = values.cast(pa.binary())
    return join(by_length(payload, lambda n: bytes([tag]) + as_varint(n)), payload)


def as_varint(value: int) -> bytes:
    """One protobuf varint."""
    matrix, lengths = varints(np.array([value], np.uint64))
    return matrix[0, : lengths[0]].tobytes()


def lengths_of(cells: pa.Array) -> Ints:
    """Length of each cell in bytes."""
    lengths: Ints = pc.binary_length(cells).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def by_length(cells: pa.Array, head: Callable[[int], bytes]) -> pa.Array | bytes:
    """For each cell, the bytes `head` gives for its length; `head` is called once for each distinct length."""
    if pa.types.is_fixed_size_binary(cells.type):
        return head(cells.type.byte_width)
    lengths = lengths_of(cells)
    if len(lengths) and lengths.max() < _SHORT:
        distinct = np.flatnonzero(np.bincount(lengths))
        places = np.zeros(_SHORT, np.int32)
        places[distinct] = np.arange(len(distinct))
        index = pa.array(places[lengths])
    else:
        distinct, inverse = np.unique(lengths, return_inverse=True)
        index = pa.array(inverse)
    return pa.array([head(int(n)) for n in distinct], pa.binary()).take(index)


def join(*parts: pa.Array | bytes) -> pa.Array:
    """Row-wise concatenation into cells of any length; a bytes part repeats in every row."""
    columns: list[pa.Array | pa.Scalar] = []
    for is_fixed, parts_alike in groupby(parts, _has_one_length):
        run = list(parts_alike)
        columns += _side_by_side(run) if is_fixed else run
    if len(columns) == 1 and isinstance(columns[0], pa.Array):
        return columns[0]
    return pc.binary_join_element_wise(*columns, pa.scalar(b"", pa.binary()))


def _has_one_length(part: pa.Array | bytes) -> bool:
    return isinstance(part, bytes) or pa.types.is_fixed_size_binary(part.type)


def _side_by_side(parts: list[pa.Array | bytes]) -> list[pa.Array | pa.Scalar]:
    """Parts of one length each as one: a row of all constant bytes, copied down, then each column put in its place."""
    widths = [len(part) if isinstance(part, bytes) else part.type.byte_width for part in parts]
    rows = next((len(part) for part in parts if not isinstance(part, bytes)), None)
    template = b"".join(p if isinstance(p, bytes) else bytes(w) for p, w in zip(parts, widths, strict=True))
    if rows is None:
        return [pa.scalar(template, pa.binary())]
    block = np.empty((rows, len(template)), np.uint8)
    block[:] = np.frombuffer(template, np.uint8)
    for part, width, end in zip(parts, widths, np.cumsum(widths).tolist(), strict=True):
        if not isinstance(part, bytes) and rows:
            cells = np.frombuffer(part.buffers()[1], f"V{width}", rows, part.offset * width)
            block[:, end - width : end].view(f"V{width}")[:, 0] = cells
    return [_binary(block.reshape(-1), np.full(rows, len(template), np.int64))]


def seconds_toward_zero(micros: Ints) -> Ints:
    """Whole seconds as `int(datetime.timestamp())` gives them, which is what Feast writes."""
    return np.asarray(np.sign(micros) * (np.abs(micros) // MICROS))


def scalar_cells(column: pa.Array | pa.ChunkedArray, dtype: str, name: str) -> pa.Array:
    """Serialized feast Value protos. A null is the empty message; NaN and infinities stay what they are."""
    values = conform(column, dtype, name)
    valid = values.is_valid()
    filled = values if values.null_count == 0 else pc.fill_null(values, _zero(dtype))
    cells = _encode(filled, dtype)
    return cells if values.null_count == 0 else pc.if_else(valid, cells.cast(pa.binary()), pa.scalar(b"", pa.binary()))


def _zero(dtype: str) -> pa.Scalar:
    zero = {"bytes": b"", "string": "", "bool": False}.get(dtype, 0)
    return pa.scalar(zero, ARROW[dtype])


def _encode(values: pa.Array, dtype: str) -> pa.Array:
    tag = _TAG[dtype]
    if dtype in ("string", "bytes"):
        return _tagged_bytes(tag, values)
    if dtype in ("float64", "float32"):
        return _tagged_little_endian(tag, values.to_numpy(zero_copy_only=False))
    if dtype == "unix_timestamp":
        return _tagged_varints(tag, seconds_toward_zero(micros_of(values)))
    return _tagged_varints(tag, values.to_numpy(zero_copy_only=False))


def micros_of(timestamps: pa.Array) -> Ints:
    """Microseconds since 1970 UTC of a timestamp array without nulls."""
    micros: Ints = timestamps.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return micros


def timestamp_cells(micros: Ints) -> pa.Array:
    """Serialized google.protobuf.Timestamp; fields that are zero are left out, as proto3 does."""
    seconds, nanos = np.divmod(micros, MICROS)
    parts = [_optional_varint(0x08, seconds), _optional_varint(0x10, nanos * 1000)]
    return picked(np.hstack([matrix for matrix, _ in parts]), np.hstack([keep for _, keep in parts]))


def _optional_varint(tag: int, values: Ints) -> tuple[Bytes2D, npt.NDArray[np.bool_]]:
    matrix, lengths = varints(values.view(np.uint64))
    keep = np.arange(matrix.shape[1] + 1) <= lengths[:, None]
    keep &= (values != 0)[:, None]
    return np.hstack([np.full((len(matrix), 1), tag, np.uint8), matrix]), keep
