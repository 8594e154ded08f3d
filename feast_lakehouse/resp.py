"""Redis commands (RESP2) for whole record batches: one cell per row, ready for the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feast_lakehouse.encoding import Ints, by_length, join, timestamp_cells
from feast_lakehouse.keys import key_cells
from feast_lakehouse.newest_wins import order_cells
from feast_lakehouse.values import value_cells
from feast_lakehouse.view import View


@dataclass(frozen=True)
class Commands:
    """One row per key. `reads` asks for a row's order and timestamp fields; `changes` writes (HSET) or drops (HDEL) the row.

    `micros` holds each row's event time; it means nothing for drops.
    """

    keys: pa.Array
    reads: pa.Array
    changes: pa.Array
    micros: Ints

    def __len__(self) -> int:
        return len(self.keys)


def command(*words: bytes) -> bytes:
    """One command of literal words."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _opening(count: int, name: bytes) -> bytes:
    return b"*%d\r\n$%d\r\n%s\r\n" % (count, len(name), name)


def _bulk_head(before: bytes) -> Callable[[int], bytes]:
    return lambda length: before + b"$%d\r\n" % length


def _literal(word: bytes) -> bytes:
    return b"\r\n$%d\r\n%s" % (len(word), word)


def _each(parts: Sequence[tuple[bytes, pa.Array]]) -> list[pa.Array | bytes]:
    """Bulk strings of the cells, each with constant bytes in front of its length."""
    out: list[pa.Array | bytes] = []
    for before, cells in parts:
        out += [by_length(cells, _bulk_head(before)), cells]
    return out


def read_commands(view: View, keys: pa.Array) -> pa.Array:
    """HMGET key order-field timestamp-field."""
    tail = _literal(view.order_field) + _literal(view.timestamp_field) + b"\r\n"
    return join(*_each([(_opening(4, b"HMGET"), keys)]), tail)


def drop_commands(view: View, keys: pa.Array) -> pa.Array:
    """HDEL key and every field of the view."""
    fields = [*view.fields, view.timestamp_field, view.order_field]
    tail = b"".join(_literal(field) for field in fields) + b"\r\n"
    return join(*_each([(_opening(2 + len(fields), b"HDEL"), keys)]), tail)


def write_commands(keys: pa.Array, cells: Sequence[tuple[bytes, pa.Array]]) -> pa.Array:
    """HSET key field value …, for (field, cells) pairs."""
    opening = _opening(2 + 2 * len(cells), b"HSET")
    parts = [(opening, keys), *((_literal(field) + b"\r\n", values) for field, values in cells)]
    return join(*_each(parts), b"\r\n")


def row_cells(view: View, batch: pa.RecordBatch, micros: Ints) -> list[tuple[bytes, pa.Array]]:
    """(hash field, serialized values) of every feature and of the event time, as Feast lays them out."""
    features = [
        (field, value_cells(batch.column(name), dtype, f"{view.name}.{name}"))
        for (name, dtype), field in zip(view.features, view.fields, strict=True)
    ]
    return [*features, (view.timestamp_field, timestamp_cells(micros))]


def encode_writes(view: View, batch: pa.RecordBatch, *, generation: int, version: int) -> Commands:
    """Commands that write a batch of served key and feature columns plus `__micros` (event time, µs since 1970 UTC)."""
    keys = _keys(view, batch)
    micros: Ints = batch.column("__micros").to_numpy(zero_copy_only=False).astype(np.int64)
    cells = [*row_cells(view, batch, micros), (view.order_field, order_cells(generation, micros, version))]
    return Commands(keys, read_commands(view, keys), write_commands(keys, cells), micros)


def encode_drops(view: View, batch: pa.RecordBatch) -> Commands:
    """Commands that take the view's fields from the keys of a batch of key columns."""
    keys = _keys(view, batch)
    return Commands(keys, read_commands(view, keys), drop_commands(view, keys), np.zeros(len(batch), np.int64))


def _keys(view: View, batch: pa.RecordBatch) -> pa.Array:
    return key_cells([batch.column(name) for name, _ in view.keys], view.keys, view.project)


def wire(cells: pa.Array) -> memoryview:
    """All cells as one run of bytes, without a copy."""
    _, offsets, data = cells.buffers()
    ends = np.frombuffer(offsets, np.int32)
    return memoryview(data)[ends[cells.offset] : ends[cells.offset + len(cells)]] if len(cells) else memoryview(b"")
