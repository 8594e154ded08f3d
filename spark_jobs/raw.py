"""The raw tables that sources land and feature tables read."""

from __future__ import annotations

from spark_jobs.contract import Column, RawTable

_MINUTES_IN_TWO_DAYS = 2880

WEATHER_LATE_DAYS = 2
"""A reading becomes known at most this many days after the UTC day it is about; landing quarantines later ones."""

FLIGHTS = RawTable(
    name="flights",
    lake="on_prem",
    description=(
        "One row per scheduled departure from New York City. What happened to a flight became known at its departure, "
        "its arrival or, for a cancellation, its scheduled departure; at most two days after the scheduled UTC day."
    ),
    columns=(
        Column("carrier", "string", "Airline, IATA code.", nullable=False),
        Column("flight", "int32", "Flight number of the carrier.", minimum=1, maximum=9999, nullable=False),
        Column("tailnum", "string", "Tail number of the aircraft; null when none was recorded."),
        Column("origin", "string", "Airport of departure, FAA code.", nullable=False),
        Column("dest", "string", "Airport of destination, FAA code.", nullable=False),
        Column("scheduled_at", "timestamp", "Scheduled departure.", unit="UTC", nullable=False),
        Column("departed_at", "timestamp", "Departure; null when cancelled.", unit="UTC"),
        Column("arrived_at", "timestamp", "Arrival; null when cancelled, diverted or unknown.", unit="UTC"),
        Column(
            "dep_delay",
            "float64",
            "Departure after schedule, negative when early; null when cancelled.",
            unit="minutes",
            minimum=-180,
            maximum=_MINUTES_IN_TWO_DAYS,
        ),
        Column(
            "arr_delay",
            "float64",
            "Arrival after schedule, negative when early; null exactly when arrived_at is.",
            unit="minutes",
            minimum=-300,
            maximum=_MINUTES_IN_TWO_DAYS,
        ),
        Column("distance", "float64", "Distance flown.", unit="miles", minimum=1, maximum=12_500, nullable=False),
        Column("cancelled", "bool", "Whether the flight never departed.", nullable=False),
    ),
    key=("carrier", "flight", "origin", "scheduled_at"),
    time_column="scheduled_at",
)

WEATHER = RawTable(
    name="weather",
    lake="cloud",
    description=(
        "One row per reading that became known: the weather that a New York City airport observed in a UTC hour. "
        "An hour has another row for every correction; of those the one known last holds."
    ),
    columns=(
        Column("origin", "string", "Airport, FAA code.", nullable=False),
        Column("observed_at", "timestamp", "Start of the hour of observation.", unit="UTC", nullable=False),
        Column(
            "known_at",
            "timestamp",
            "When the reading became known: its enqueued time in the event stream, minute 59 of its hour in the packaged file.",
            unit="UTC",
            nullable=False,
        ),
        Column("temp", "float64", "Temperature.", unit="°F", minimum=-80, maximum=140),
        Column("dewp", "float64", "Dew point.", unit="°F", minimum=-100, maximum=110),
        Column("humid", "float64", "Relative humidity.", unit="%", minimum=0, maximum=100),
        Column("wind_dir", "float64", "Direction the wind comes from.", unit="degrees", minimum=0, maximum=360),
        Column("wind_speed", "float64", "Wind speed.", unit="mph", minimum=0, maximum=200),
        Column("wind_gust", "float64", "Gust speed; null when there was no gust.", unit="mph", minimum=0, maximum=250),
        Column("precip", "float64", "Precipitation of the hour.", unit="inches", minimum=0, maximum=20),
        Column("pressure", "float64", "Sea level pressure.", unit="mbar", minimum=850, maximum=1090),
        Column("visib", "float64", "Visibility.", unit="miles", minimum=0, maximum=100),
    ),
    key=("origin", "observed_at", "known_at"),
    time_column="known_at",
)

RAW_TABLES = {table.name: table for table in (FLIGHTS, WEATHER)}
"""Every raw table by name."""
