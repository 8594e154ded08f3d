"""What a table interval holds, as one number: a hash of its rows that ignores their order and their batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feast_lakehouse.errors import DataError

Words: TypeAlias = npt.NDArray[np.uint64]

CHUNK_ROWS: Final = 65_536
_LANES: Final = 2
_MASK: Final = (1 << 64) - 1
_NULL: Final = b"\x00null"


class ContentHash:
    """Hash of a multiset of rows: the same rows in any order, cut into any batches, give the same digest.

    Each row becomes two 64-bit words (columns in the order of their names, splitmix64 between them) and the words are
    summed modulo 2**64, so memory is constant and one pass is enough. Landing the same rows in another order is
    therefore no change. The schema (names and types) is part of the digest; nullability is not. All NaN are one
    value, -0.0 is 0.0, NaN is not null. It detects change, it does not defend against a source that forges rows.
    """

    def __init__(self, schema: pa.Schema) -> None:
        """Raises DataError for a column type it has no canonical form for (nested, decimal, dictionary)."""
        self._columns = [schema.field(name) for name in sorted(schema.names)]
        for column in self._columns:
            _encoder(column)
        self._sums = [0] * _LANES
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch; its columns are found by name."""
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            self._add_chunk(batch.slice(start, CHUNK_ROWS))

    def _add_chunk(self, batch: pa.RecordBatch) -> None:
        rows = [np.full(batch.num_rows, lane, dtype=np.uint64) for lane in range(_LANES)]
        for column in self._columns:
            lanes = _encoder(column)(batch.column(column.name))
            for lane, words in enumerate(lanes):
                rows[lane] = _mix(rows[lane] * np.uint64(0x9E3779B97F4A7C15) + _mix(words ^ _seed(column, lane)))
        for lane, words in enumerate(rows):
            self._sums[lane] = (self._sums[lane] + int(np.add.reduce(words))) & _MASK
        self.rows += batch.num_rows

    def hexdigest(self) -> str:
        """16 hexadecimal digits."""
        layout = [(column.name, str(column.type)) for column in self._columns]
        whole = repr((1, layout, self.rows, self._sums))
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _mix(words: Words) -> Words:
    """splitmix64's finalizer (Steele, Lea, Flood 2014): every input bit reaches every output bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _seed(column: pa.Field, lane: int) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(f"{lane}:{column.name}".encode()).digest()[:8], "little"))


def _encoder(column: pa.Field) -> Callable[[pa.Array], list[Words]]:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return _texts
    if pa.types.is_floating(kind):
        return lambda array: _numbers(_canonical_floats(array))
    if (
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date32(kind)
    ):
        return _numbers
    raise DataError(
        f"{column.name}: type {kind} cannot be landed. Expected string, binary, integer, float, bool, timestamp or date."
    )


def _canonical_floats(array: pa.Array) -> pa.Array:
    values = array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0
    values[np.isnan(values)] = np.nan
    return pa.array(values.view(np.int64), mask=_nulls(array))


def _nulls(array: pa.Array) -> npt.NDArray[np.bool_]:
    nulls: npt.NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _numbers(array: pa.Array) -> list[Words]:
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    target = pa.uint64() if pa.types.is_uint64(array.type) else pa.int64()
    values = array.cast(target).fill_null(0).to_numpy(zero_copy_only=False)
    words = np.where(_nulls(array), _words(_NULL)[0], values.astype(np.uint64))
    return [words] * _LANES


def _texts(array: pa.Array) -> list[Words]:
    encoded = array.dictionary_encode()
    values: list[Any] = pc.cast(encoded.dictionary, pa.binary()).to_pylist()
    table = np.stack([_words(b"text" + value) for value in values] + [_words(_NULL)])
    codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    return [table[codes, lane] for lane in range(_LANES)]


def _words(value: bytes) -> Words:
    return np.frombuffer(hashlib.blake2b(value, digest_size=8 * _LANES).digest(), dtype="<u8").astype(np.uint64)
