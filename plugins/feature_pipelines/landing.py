"""Landing: the rows of an interval go from a source to its raw table, the unfit ones to quarantine with a reason."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from feature_pipelines.sources import FLAW, PLACE, UNREADABLE
from feature_pipelines.sources import source as source_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from feature_pipelines.environment import Environment
    from feature_pipelines.sources import Source
    from spark_jobs.interval import Interval

CHUNK_ROWS = 50_000
MEMORY_LIMIT = "512MB"


@dataclass(frozen=True)
class LandingReport:
    """What landing one UTC day left: live rows, quarantined rows, the raw table's version and the day's build.

    `changed` = whether anything was committed, to the raw table or to its quarantine. `lag`: records that a stream
    holds after the day, in all and by partition ("0: 12, 1: 3"); None for a source that is no stream.
    """

    source: str
    partition: str
    rows: int
    rejected: int
    version: int
    build: str
    changed: bool
    lag: int | None = None
    lag_by_partition: str | None = None


def land(
    env: Environment, source_name: str, interval: Interval, *, allow_shrink: bool = False
) -> tuple[LandingReport, ...]:
    """Lands every UTC day of the interval, each on its own. What `land_day` raises stops at that day."""
    source = source_of(env, source_name)
    return tuple(land_day(env, source, day, allow_shrink=allow_shrink) for day in interval.days())


def land_day(env: Environment, source: Source, day: Interval, *, allow_shrink: bool = False) -> LandingReport:
    """Lands one UTC day: rows of the source = rows landed + rows quarantined; the same content again = no commit.

    Rows stream through DuckDB, which spills to disk: memory does not grow with the day. Raises DataError, landing
    nothing, for a file that is not as the contract says, for records that a stream no longer holds, and for fewer rows
    than are live unless `allow_shrink`; TransportError for a day of a stream that is not over.
    """
    from feast_lakehouse.commits import Snapshot
    from feast_lakehouse.tables import write_interval
    from feature_pipelines.schemas import raw_schema, rejected_schema

    schema, quarantine = raw_schema(source.contract), rejected_schema(source.contract)
    source = source.fixed(day, allow_shrink=allow_shrink)
    with _Judged.opened(source, day) as judged:
        seen = Snapshot.take(env.rejected(source.name))  # before the source is read, as write_interval does with raw
        landed = write_interval(
            env.raw(source.name), day.partition, judged.fit(schema), schema=schema, allow_shrink=allow_shrink
        )
        # After the raw rows: a landing that is refused must leave the quarantine alone too.
        rejected = write_interval(
            env.rejected(source.name),
            day.partition,
            judged.unfit(quarantine),
            schema=quarantine,
            allow_shrink=True,
            seen=seen,
        )
    changed = landed.changed or rejected.changed
    report = LandingReport(
        source.name, day.partition, landed.rows, rejected.rows, landed.version, landed.build, changed
    )
    return (
        report
        if source.lag is None
        else replace(report, lag=sum(source.lag.values()), lag_by_partition=_told(source.lag))
    )


def _told(lag: Mapping[int, int]) -> str:
    return ", ".join(f"{partition}: {count}" for partition, count in sorted(lag.items()))


@dataclass
class _Judged:
    """Every row of a day with its reason, in a table that DuckDB keeps on disk if it must.

    The source is read when the first row is asked for, not before: `write_interval` counts on it.
    """

    source: Source
    day: Interval
    connection: duckdb.DuckDBPyConnection
    read: bool = False

    @classmethod
    @contextmanager
    def opened(cls, source: Source, day: Interval) -> Iterator[_Judged]:
        import duckdb

        with tempfile.TemporaryDirectory(prefix="landing-") as spill, duckdb.connect() as connection:
            connection.execute(f"SET TimeZone = 'UTC'; SET threads = 1; SET memory_limit = '{MEMORY_LIMIT}'")
            connection.execute("SET enable_progress_bar = false")  # it would be in the middle of what a command prints
            connection.execute("SET temp_directory = $spill", {"spill": spill})
            yield cls(source, day, connection)

    def fit(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        yield from self._selected(schema, "reason IS NULL")

    def unfit(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        yield from self._selected(schema, "reason IS NOT NULL")

    def _selected(self, schema: pa.Schema, condition: str) -> Iterator[pa.RecordBatch]:
        if not self.read:
            self._read()
        columns = ", ".join(f'"{name}"' for name in schema.names)
        query = f"SELECT {columns} FROM judged WHERE {condition}"  # noqa: S608 - no word of it comes from data
        for batch in self.connection.sql(query).to_arrow_reader(CHUNK_ROWS):
            yield batch.cast(schema)

    def _read(self) -> None:
        import duckdb
        import pyarrow as pa

        from feature_pipelines.checks import checked_query
        from feature_pipelines.schemas import raw_schema

        schema = raw_schema(self.source.contract)
        for name in (FLAW, PLACE, UNREADABLE) if self.source.is_stream else (FLAW,):
            schema = schema.append(pa.field(name, pa.string()))
        stream = _Stream(self.source.batches(self.day))
        self.connection.register("incoming", pa.RecordBatchReader.from_batches(schema, stream))
        try:
            self.connection.execute(f"CREATE TEMP TABLE judged AS {checked_query(self.source, self.day, 'incoming')}")
        except duckdb.Error:
            if stream.error:
                raise stream.error from None
            raise
        self.read = True


class _Stream:
    """An iterator that keeps the error it ended with: DuckDB would turn it into text."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except Exception as error:
            self.error = error
            raise
