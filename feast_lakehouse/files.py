"""Which data files of a table version a question is about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from feast_lakehouse.delta import TableRef, TableState

_LOG_TICK = 1_000
"""The Delta log tells the least and greatest times of a file cut off to milliseconds."""


@dataclass(frozen=True)
class Files:
    """Some data files of one version of a table."""

    ref: TableRef
    state: TableState
    paths: frozenset[str]

    @classmethod
    def whole(cls, ref: TableRef, state: TableState) -> Self:
        """Every file of the version."""
        return cls(ref, state, frozenset(state.files))

    def between(self, column: str, first: int, last: int) -> Self:
        """Those that may have a row whose `column` is in [first, last], microseconds since 1970 UTC, as the log knows."""
        log = pa.table(self.ref.open(self.state.version).get_add_actions(flatten=True))
        if f"max.{column}" not in log.column_names:
            return self
        least, greatest = (
            log.column(f"{end}.{column}").cast(pa.timestamp("us")).cast(pa.int64()) for end in ("min", "max")
        )
        apart = pc.or_(pc.greater(least, last), pc.less(pc.add(greatest, _LOG_TICK), first))
        elsewhere = {unquote(path) for path in log.column("path").filter(apart).to_pylist()}
        return replace(self, paths=self.paths - elsewhere)
