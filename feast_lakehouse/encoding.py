"""Arrow columns to the bytes Feast keeps in Redis, without a Python loop over rows.

Layouts: protobuf `feast/types/Value.proto` and `google/protobuf/timestamp.proto`. A "cell" is one value's bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feast_lakehouse.cells import Bytes2D, Ints, by_length, fixed, join, picked, ragged
from feast_lakehouse.errors import DataError

MICROS = 1_000_000
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

_FIVE_BYTES = range(1 << 28, 1 << 35)
"""Numbers whose varint has five bytes; as seconds since 1970 those of the years 1978 to 3058."""
_SEVENS = [np.uint64(0x7F << 7 * place) for place in range(5)]
_NANOS_OF_BYTES = np.array([1, 1 << 7, 1 << 14, 1 << 21, 1 << 28], np.uint64)
"""From where on nanos take one byte, two, …"""
_MORE_BYTES = np.array([0, *(int.from_bytes(b"\x80" * more, "little") for more in range(5))], np.uint64)
"""The continuation bits of a varint of so many bytes."""
_TAGS = np.uint64(int.from_bytes(b"\x08\x80\x80\x80\x80\x00\x10", "little"))
"""The tags of seconds and nanos, and the continuation bits of five bytes of seconds."""

SCALAR_TYPES = frozenset(_TAG)
"""Scalar Feast value types a feature may have."""


def conform(column: pa.Array | pa.ChunkedArray, dtype: str, name: str) -> pa.Array:
    """The column as one array of the Arrow type that stands for a Feast type. Raises DataError if a value does not fit."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    try:
        return whole.cast(ARROW[dtype])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{name}: expected {dtype}, found {whole.type}: {error}") from error


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
    seconds, rest = np.divmod(micros, MICROS)
    nanos = rest * 1000
    if len(micros) and seconds.min() >= _FIVE_BYTES.start and seconds.max() < _FIVE_BYTES.stop:
        return _usual_timestamps(seconds.view(np.uint64), nanos.view(np.uint64))
    parts = [_optional_varint(0x08, seconds), _optional_varint(0x10, nanos)]
    return picked(np.hstack([matrix for matrix, _ in parts]), np.hstack([keep for _, keep in parts]))


def _usual_timestamps(seconds: npt.NDArray[np.uint64], nanos: npt.NDArray[np.uint64]) -> pa.Array:
    """The same for seconds of five bytes, in sixteen: tag, seconds, tag, nanos. An order's timestamp is compared so, row by row."""
    size = np.searchsorted(_NANOS_OF_BYTES, nanos, side="right")
    fraction = _sevens(nanos) | _MORE_BYTES[size]
    words = np.empty((len(seconds), 2), "<u8")
    words[:, 0] = (_sevens(seconds) << np.uint64(8)) | _TAGS | (fraction << np.uint64(56))
    words[:, 1] = fraction >> np.uint64(8)
    return ragged(words.view(np.uint8), np.where(size > 0, size + 7, 6))


def _sevens(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Up to 35 bits as five bytes of seven bits each."""
    spread = values & _SEVENS[0]
    for place, bits in enumerate(_SEVENS[1:], start=1):
        spread |= (values & bits) << np.uint64(place)
    return spread


def _optional_varint(tag: int, values: Ints) -> tuple[Bytes2D, npt.NDArray[np.bool_]]:
    matrix, lengths = varints(values.view(np.uint64))
    keep = np.arange(matrix.shape[1] + 1) <= lengths[:, None]
    keep &= (values != 0)[:, None]
    return np.hstack([np.full((len(matrix), 1), tag, np.uint8), matrix]), keep
