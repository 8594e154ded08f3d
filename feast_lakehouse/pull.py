"""Rows of one data source between two times, all of them or the newest of each key, for Feast's own engines."""
# ruff: noqa: S608 - the SQL is made of numbered names of this module, never of anybody's text

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from feast_lakehouse.duck import Limits, run
from feast_lakehouse.point_in_time import with_places
from feast_lakehouse.retrieval import LakehouseRetrievalJob, LakehouseRetrievalMetadata
from feast_lakehouse.sources import Source


@dataclass(frozen=True)
class Pull:
    """A read of `columns` of the rows with since <= time <= until (microseconds since 1970 UTC; None: no bound)."""

    source: Source
    columns: list[str]
    since: int | None
    until: int | None
    limits: Limits

    def job(self, *, newest_of: list[str] | None = None) -> LakehouseRetrievalJob:
        """The job; with `newest_of` one row per combination of these columns, ties broken as in a training set."""
        sql = self._sql(newest_of)
        versions = {self.source.name: self.source.state.version}
        metadata = LakehouseRetrievalMetadata(features=self.columns, keys=newest_of or [], table_versions=versions)
        return LakehouseRetrievalJob(lambda timeout: self._execute(sql, timeout), sql=sql, metadata=metadata)

    def _sql(self, newest_of: list[str] | None) -> str:
        chosen = ", ".join(f"c{n}" for n in range(len(self.columns)))
        if newest_of is None:
            return f"SELECT {chosen} FROM rows"
        keys = ", ".join(f"c{self.columns.index(name)}" for name in newest_of)
        newest = f"t DESC, {'created DESC NULLS LAST, ' if self.source.created else ''}place DESC"
        partition = f"PARTITION BY {keys} " if keys else ""
        return f"SELECT {chosen} FROM rows QUALIFY row_number() OVER ({partition}ORDER BY {newest}) = 1"

    def _execute(self, sql: str, timeout: float | None) -> pa.Table:
        times = {"t": self.source.timestamp} | ({"created": self.source.created} if self.source.created else {})
        columns = {f"c{n}": name for n, name in enumerate(self.columns)}
        scanner = self.source.scan(columns, times=times, since=self.since, until=self.until)
        rows = with_places(scanner, self.source, keys=[])
        return run(sql, {"rows": rows}, limits=self.limits, timeout=timeout).rename_columns(self.columns)
