"""Cells: one run of bytes per row, put together column-wise without a Python loop over rows.

Cells are a pa.BinaryArray without nulls, or a pa.FixedSizeBinaryArray where all have one length, which joins faster.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes2D = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_SHORT = 1 << 12
"""Lengths below this are looked up in a table instead of being sorted."""


def ragged(matrix: Bytes2D, lengths: Ints) -> pa.Array:
    """Cells from a byte matrix: row i is its first lengths[i] bytes."""
    if len(lengths) and (lengths == lengths[0]).all():
        return fixed(matrix[:, : lengths[0]])
    return _binary(matrix[np.arange(matrix.shape[1]) < lengths[:, None]], lengths)


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
