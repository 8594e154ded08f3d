"""An environment of a test's own, and source files of its own making."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from feature_pipelines.environment import Environment
from feature_pipelines.sources.flights import COLUMNS as FLIGHT_COLUMNS
from feature_pipelines.sources.flights import Flights
from feature_pipelines.sources.weather import Weather

CONFIG = """
project: my_feast
provider: local
offline_store:
  type: feast_lakehouse.offline_store.LakehouseOfflineStore
  lakes:
    on_prem: file://${MY_FEAST_HOME}/lakes/on_prem
    cloud: file://$MY_FEAST_HOME/lakes/cloud
"""

WEATHER_COLUMNS = (
    *("origin", "year", "month", "day", "hour", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
    *("precip", "pressure", "visib", "time_hour"),
)

FLIGHT: dict[str, Any] = {
    "year": 2013,
    "month": 1,
    "day": 2,
    "dep_time": 517,
    "sched_dep_time": 515,
    "dep_delay": 2,
    "arr_time": 830,
    "sched_arr_time": 819,
    "arr_delay": 11,
    "carrier": "UA",
    "flight": 1545,
    "tailnum": "N14228",
    "origin": "EWR",
    "dest": "IAH",
    "air_time": 227,
    "distance": 1400,
    "hour": 5,
    "minute": 15,
    "time_hour": "2013-01-02T10:00:00Z",
}
"""A line of flights.csv: scheduled 2013-01-02 10:15Z, departed 10:17Z, arrived 14:30Z (Houston)."""

OBSERVATION: dict[str, Any] = {
    "origin": "EWR",
    "year": 2013,
    "month": 1,
    "day": 2,
    "hour": 5,
    "temp": 39.02,
    "dewp": 26.06,
    "humid": 59.37,
    "wind_dir": 270,
    "wind_speed": 10.3,
    "wind_gust": None,
    "precip": 0,
    "pressure": 1012,
    "visib": 10,
    "time_hour": "2013-01-02T10:00:00Z",
}
"""A line of weather.csv."""

AIRPORTS = "faa,name,lat,lon,alt,tz,dst,tzone\nIAH,George Bush,29.98,-95.34,97,-6,A,America/Chicago\n"

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    folder = checkout / "feature_repo" / "environments" / "embedded"
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(CONFIG)
    return Environment("embedded", home, checkout, {"MY_FEAST_HOME": str(home)})


@pytest.fixture
def flights(tmp_path: Path) -> Callable[..., Flights]:
    """Makes a flights source whose file has these lines, each a FLIGHT with changes."""
    return lambda *changes, columns=FLIGHT_COLUMNS: write_flights(tmp_path / "data", changes, columns=columns)


@pytest.fixture
def weather(tmp_path: Path) -> Callable[..., Weather]:
    """Makes a weather source whose file has these lines, each an OBSERVATION with changes."""
    return lambda *changes, columns=WEATHER_COLUMNS: write_weather(tmp_path / "data", changes, columns=columns)


def write_flights(folder: Path, changes: Rows, *, columns: Sequence[str] = FLIGHT_COLUMNS) -> Flights:
    folder.mkdir(exist_ok=True)
    (folder / "airports.csv").write_text(AIRPORTS)
    write_csv(folder / "flights.csv", [FLIGHT | dict(change) for change in changes], columns)
    with zipfile.ZipFile(folder / "flights.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "flights.csv", "flights.csv")
    return Flights(folder)


def write_weather(folder: Path, changes: Rows, *, columns: Sequence[str] = WEATHER_COLUMNS) -> Weather:
    folder.mkdir(exist_ok=True)
    write_csv(folder / "weather.csv", [OBSERVATION | dict(change) for change in changes], columns)
    return Weather(folder)


def write_csv(path: Path, rows: Rows, columns: Sequence[str]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([["NA" if row.get(name) is None else row[name] for name in columns] for row in rows])
