"""Redis commands (RESP2) for whole record batches: one cell per row, ready for the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feast_lakehouse.cells import Ints, by_length, join
from feast_lakehouse.encoding import timestamp_cells
from feast_lakehouse.keys import key_cells
from feast_lakehouse.newest_wins import order_cells
from feast_lakehouse.values import value_cells
from feast_lakehouse.view import View


@dataclass(frozen=True)
class Commands:
    """One row per key. `changes` writes (HSET) or drops (HDEL) the row; `bulks` are the keys as bulk strings.

    `micros` holds each row's event time; it means nothing for drops.
    """

    keys: pa.Array
    bulks: pa.Array
    changes: pa.Array
    micros: Ints

    def __len__(self) -> int:
        return len(self.keys)


def command(*literal: bytes) -> bytes:
    """One command of literal words."""
    return b"*%d\r\n" % len(literal) + words(*literal)


def opening(count: int, name: bytes) -> bytes:
    """The beginning of a command of `count` words, its name among them."""
    return b"*%d\r\n%b" % (count, words(name))


def _word(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def words(*literal: bytes) -> bytes:
    """Words of a command."""
    return b"".join(map(_word, literal))


def _bulk_head(before: bytes) -> Callable[[int], bytes]:
    return lambda length: before + b"$%d\r\n" % length


def _each(parts: Sequence[tuple[bytes, pa.Array]]) -> list[pa.Array | bytes]:
    """Bulk strings of the cells, each with constant bytes in front of its length; the last one's line end is left out."""
    out: list[pa.Array | bytes] = []
    for number, (before, cells) in enumerate(parts):
        out += [by_length(cells, _bulk_head(b"\r\n" + before if number else before)), cells]
    return out


def bulk_strings(keys: pa.Array) -> pa.Array:
    """The keys as words of a command."""
    return join(*_each([(b"", keys)]), b"\r\n")


def read_commands(view: View, bulks: pa.Array) -> memoryview:
    """HMGET key order-field timestamp-field, of each key."""
    return wire(join(b"*4\r\n$5\r\nHMGET\r\n", bulks, words(view.order_field, view.timestamp_field)))


def exists_command(bulks: pa.Array) -> bytes:
    """EXISTS of all keys at once: how many of them are there."""
    return b"*%d\r\n$6\r\nEXISTS\r\n%b" % (len(bulks) + 1, bytes(wire(bulks)))


def drop_commands(fields: Sequence[bytes], bulks: pa.Array) -> pa.Array:
    """HDEL key and these fields."""
    return join(opening(2 + len(fields), b"HDEL"), bulks, words(*fields))


def write_commands(bulks: pa.Array, cells: Sequence[tuple[bytes, pa.Array]]) -> pa.Array:
    """HSET key field value …, for (field, cells) pairs."""
    parts = [(_word(field), values) for field, values in cells]
    return join(opening(2 + 2 * len(cells), b"HSET"), bulks, *_each(parts), b"\r\n")


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
    # What is read before every later write stands first in the hash: Redis looks through a small one from its start.
    *features, stamp = row_cells(view, batch, micros)
    cells = [(view.order_field, order_cells(generation, micros, version)), stamp, *features]
    bulks = bulk_strings(keys)
    return Commands(keys, bulks, write_commands(bulks, cells), micros)


def encode_drops(view: View, batch: pa.RecordBatch) -> Commands:
    """Commands that take the view's fields from the keys of a batch of key columns."""
    return drops(view, _keys(view, batch))


def drops(view: View, keys: pa.Array, fields: Sequence[bytes] = ()) -> Commands:
    """Commands that take these fields from these keys, every field of the view unless told."""
    bulks, fields = bulk_strings(keys), fields or [*view.fields, view.timestamp_field, view.order_field]
    return Commands(keys, bulks, drop_commands(fields, bulks), np.zeros(len(keys), np.int64))


def _keys(view: View, batch: pa.RecordBatch) -> pa.Array:
    return key_cells([batch.column(name) for name, _ in view.keys], view.keys, view.project)


def wire(cells: pa.Array) -> memoryview:
    """All cells as one run of bytes, without a copy."""
    _, offsets, data = cells.buffers()
    ends = np.frombuffer(offsets, np.int32)
    return memoryview(data)[ends[cells.offset] : ends[cells.offset + len(cells)]] if len(cells) else memoryview(b"")
