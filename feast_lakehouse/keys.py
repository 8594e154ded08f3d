"""Redis keys of feature rows: Feast's entity key serialization version 3 (`feast/infra/key_encoding_utils.py`) and the project."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feast_lakehouse.cells import by_length, fixed, join
from feast_lakehouse.encoding import MICROS, conform, micros_of, seconds_toward_zero
from feast_lakehouse.errors import DataError

_KEY_TYPE = {"bytes": 1, "string": 2, "int32": 3, "int64": 4, "unix_timestamp": 8}
KEY_TYPES = frozenset(_KEY_TYPE)
"""Feast value types a join key may have."""


def key_cells(columns: Sequence[pa.Array], keys: Sequence[tuple[str, str]], project: str) -> pa.Array:
    """Redis keys: Feast's entity key (version 3) and the project. `keys` are (join key, type), in the columns' order.

    Raises DataError for a null in a key column.
    """
    ordered = sorted(zip(keys, columns, strict=True), key=lambda pair: pair[0][0])
    parts: list[pa.Array | bytes] = [key_prefix([name for name, _ in keys])]
    for (name, dtype), column in ordered:
        values = conform(column, dtype, name)
        if values.null_count:
            raise DataError(f"join key {name}: expected no null, found {values.null_count} in {len(values)} rows.")
        payload = _key_payload(values, dtype)
        parts += [by_length(payload, lambda n, code=_KEY_TYPE[dtype]: struct.pack("<II", code, n)), payload]  # type: ignore[misc]
    return join(*parts, project.encode())


def _key_payload(values: pa.Array, dtype: str) -> pa.Array:
    if dtype in ("string", "bytes"):
        return values.cast(pa.binary())
    numbers = (
        seconds_toward_zero(micros_of(values)) if dtype == "unix_timestamp" else values.to_numpy(zero_copy_only=False)
    )
    return fixed(np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), numbers.dtype.itemsize))


def whole_seconds(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A timestamp key column as Redis keys tell its values apart: without the parts of a second, toward 1970."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    micros = whole.cast(pa.timestamp("us", whole.type.tz), safe=False).cast(pa.int64())
    seconds = pc.divide(micros, MICROS)  # of integers, toward zero
    return pc.multiply(seconds, MICROS).cast(pa.timestamp("us", whole.type.tz)).cast(whole.type)


def key_prefix(names: Sequence[str]) -> bytes:
    """What every Redis key of these join keys starts with."""
    encoded = [name.encode() for name in sorted(names)]
    return struct.pack("<I", len(encoded)) + b"".join(struct.pack("<II", 2, len(n)) + n for n in encoded)


def key_project(key: bytes) -> bytes | None:
    """The project at the end of a Redis key, or None when the key is not a Feast entity key (version 3)."""
    try:
        (count,) = struct.unpack_from("<I", key)
        position = 4
        for _ in range(2 * count):
            _, length = struct.unpack_from("<II", key, position)
            position += 8 + length
    except struct.error:
        return None
    return key[position:] if position <= len(key) else None
