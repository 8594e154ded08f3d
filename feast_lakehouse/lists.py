"""Arrow list columns to the bytes Feast keeps in Redis, without a Python loop over rows or elements.

Layout (`feast/types/Value.proto`): a Value holds a message `…List { repeated T val = 1 }`. Numbers and bools are packed
behind one tag and length; strings and bytes have a tag and length each. An empty list is an empty `…List` message, a
null is the empty Value: they stay apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feast_lakehouse.cells import Ints, by_length, join, lengths_of, ragged
from feast_lakehouse.encoding import ARROW, as_varint, micros_of, seconds_toward_zero, varints
from feast_lakehouse.errors import DataError

_TAG = {
    "bytes": b"\x5a",
    "string": b"\x62",
    "int32": b"\x6a",
    "int64": b"\x72",
    "float64": b"\x7a",
    "float32": b"\x82\x01",
    "bool": b"\x8a\x01",
    "unix_timestamp": b"\x92\x01",
}
_VAL = b"\x0a"
_LARGEST = 2**31 - 1
_PIECE = 1 << 18

LIST_TYPES = {f"list<{element}>": element for element in _TAG}
"""Feast's Array(…) types as this package names them, each with the type of its elements."""


def list_cells(column: pa.Array | pa.ChunkedArray, dtype: str, name: str) -> pa.Array:
    """Serialized feast Value protos of a list column. A null is the empty message, an empty list is an empty list.

    Raises DataError naming the column for a null element (Feast would write 0 or "" for it) and for an element that
    does not fit its type.
    """
    element = LIST_TYPES[dtype]
    lists = _conform(column, dtype, name)
    elements = lists.flatten()  # of the rows that are not null
    if elements.null_count:
        raise DataError(
            f"{name}: expected no null inside a {dtype}, found {elements.null_count} in {len(elements)} elements. "
            "Redis cannot tell one from a zero; leave such elements out, or make the whole list null."
        )
    counts: Ints = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    message = _grouped(_serialized(elements, element), counts, name)
    if element not in ("string", "bytes"):
        message = join(by_length(message, lambda n: _VAL + as_varint(n) if n else b""), message)
    cells = join(by_length(message, lambda n: _TAG[element] + as_varint(n)), message)
    return cells if lists.null_count == 0 else pc.if_else(lists.is_valid(), cells, pa.scalar(b"", pa.binary()))


def _conform(column: pa.Array | pa.ChunkedArray, dtype: str, name: str) -> pa.Array:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    try:
        return whole.cast(pa.list_(ARROW[LIST_TYPES[dtype]]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{name}: expected {dtype}, found {whole.type}: {error}") from error


def _serialized(elements: pa.Array, element: str) -> pa.Array:
    """Each element's own bytes inside the list message."""
    if element in ("string", "bytes"):
        payload = elements.cast(pa.binary())
        return join(by_length(payload, lambda n: _VAL + as_varint(n)), payload)
    if element == "unix_timestamp":
        return _varint_cells(seconds_toward_zero(micros_of(elements)))
    numbers = elements.to_numpy(zero_copy_only=False)
    if element in ("int32", "int64"):
        return _varint_cells(numbers.astype(np.int64))
    return _fixed_cells(numbers.astype(np.uint8) if element == "bool" else numbers)


def _varint_cells(numbers: Ints) -> pa.Array:
    pieces = [numbers[start : start + _PIECE] for start in range(0, len(numbers), _PIECE)]
    cells = [ragged(*varints(piece.view(np.uint64))).cast(pa.binary()) for piece in pieces]  # bounds the matrix
    return pa.concat_arrays(cells) if cells else pa.array([], pa.binary())


def _fixed_cells(numbers: npt.NDArray[Any]) -> pa.Array:
    width = numbers.dtype.itemsize
    kind = pa.binary(width)
    data = pa.py_buffer(np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<"))))
    return pa.Array.from_buffers(kind, len(numbers), [None, data])


def _grouped(cells: pa.Array, counts: Ints, name: str) -> pa.Array:
    """One cell per row: the next counts[i] cells, one behind the other. Their bytes are not copied."""
    ends = np.concatenate([[0], np.cumsum(counts)])
    if pa.types.is_fixed_size_binary(cells.type):
        data, offsets = cells.buffers()[1], ends * cells.type.byte_width
    else:
        data, offsets = cells.buffers()[2], np.concatenate([[0], np.cumsum(lengths_of(cells))])[ends]
    if offsets[-1] > _LARGEST:
        raise DataError(
            f"{name}: expected at most 2 GiB of lists in one batch, found {offsets[-1]} bytes in {len(counts)} rows."
        )
    return pa.Array.from_buffers(
        pa.binary(), len(counts), [None, pa.py_buffer(offsets.astype(np.int32)), data or pa.py_buffer(b"")]
    )
