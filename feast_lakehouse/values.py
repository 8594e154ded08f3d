"""Feature columns to serialized feast Value protos, whatever their Feast type."""

from __future__ import annotations

import pyarrow as pa

from feast_lakehouse.encoding import SCALAR_TYPES, scalar_cells
from feast_lakehouse.lists import LIST_TYPES, list_cells

VALUE_TYPES = SCALAR_TYPES | LIST_TYPES.keys()
"""Feast value types a feature may have; Array(Int64) is `list<int64>`."""


def value_cells(column: pa.Array | pa.ChunkedArray, dtype: str, name: str) -> pa.Array:
    """Serialized feast Value protos. A null is the empty message; NaN, infinities and empty lists stay what they are.

    Raises DataError naming the column for what does not fit its type.
    """
    return list_cells(column, dtype, name) if dtype in LIST_TYPES else scalar_cells(column, dtype, name)
