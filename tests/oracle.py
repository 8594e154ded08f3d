"""What the pipeline must arrive at, worked out in plain Python from the packaged CSV files alone; shares no code with it.

Definitions it follows: docs of the raw and feature tables. All instants are aware and UTC; days are texts like "2013-01-01".
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from tests import oracle_csv
from tests.oracle_csv import Row

KEYS = {
    "aircraft_daily": ("tailnum",),
    "route_performance": ("carrier", "origin", "dest"),
    "airport_hourly": ("origin",),
    "airport_weather_hourly": ("origin",),
}
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def rows(table: str, days: Iterable[str], *, landed: Iterable[str] | None = None) -> list[Row]:
    """The feature rows of the given UTC days, sorted by event time and key.

    `landed` are the raw days that are in the lake; by default all of them are.
    """
    wanted = {_midnight(day) for day in days}
    found = [
        row for row in _TABLES[table](_raw_days(wanted, landed), wanted) if _day_ended(row["event_timestamp"]) in wanted
    ]
    return sorted(found, key=lambda row: (row["event_timestamp"], *(row[key] for key in KEYS[table])))


def online(table: str, days: Iterable[str], *, landed: Iterable[str] | None = None) -> dict[tuple[str, ...], Row]:
    """Key -> its newest row among the feature rows of the given days: what the online store must hold."""
    return {tuple(row[key] for key in KEYS[table]): row for row in rows(table, days, landed=landed)}


def weather_features(readings: Iterable[Row], days: Iterable[str]) -> list[Row]:
    """The rows of airport_weather_hourly of the given UTC days, when exactly these raw readings have landed."""
    found = _weather_news(list(readings), {_midnight(day) for day in days})
    return sorted(found, key=lambda row: (row["event_timestamp"], row["origin"]))


def flights(days: Iterable[str]) -> list[Row]:
    """The raw flight rows whose scheduled departure lies in the given UTC days."""
    return oracle_csv.flights(_midnight(day) for day in days)


def weather(days: Iterable[str]) -> list[Row]:
    """The raw weather rows observed in the given UTC days that landing does not reject."""
    return oracle_csv.weather(_midnight(day) for day in days)


def same(expected: object, found: object) -> bool:
    """Equal, floats to 1e-9 relative; null equals only null."""
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-9)
    return type(expected) is type(found) and bool(expected == found)


def _aircraft_daily(raw: set[datetime], wanted: set[datetime]) -> Iterator[Row]:
    groups: dict[tuple[str, datetime], list[tuple[str, datetime, Row]]] = defaultdict(list)
    for kind, happened, known, flight in _facts(raw):
        if flight["tailnum"] is not None and _floor(known, DAY) in wanted:
            groups[flight["tailnum"], _floor(known, DAY)].append((kind, happened, flight))
    for (tailnum, day), facts in groups.items():
        departed = [flight for kind, _, flight in facts if kind == "departure"]
        arrived = [flight for kind, _, flight in facts if kind == "arrival"]
        yield {
            "tailnum": tailnum,
            "event_timestamp": day + DAY,
            "flights": len(departed),
            "mean_dep_delay": _mean([flight["dep_delay"] for flight in departed]),
            "mean_arr_delay": _mean([flight["arr_delay"] for flight in arrived]),
            "cancellations": len(facts) - len(departed) - len(arrived),
            "distance": math.fsum(flight["distance"] for flight in arrived),
            "last_airport": _last_airport(facts),
        }


def _last_airport(facts: list[tuple[str, datetime, Row]]) -> str | None:
    seen = [
        (
            (
                happened,
                kind == "arrival",
                flight["scheduled_at"],
                flight["carrier"],
                flight["flight"],
                flight["origin"],
            ),
            flight["dest"] if kind == "arrival" else flight["origin"],
        )
        for kind, happened, flight in facts
        if kind != "cancellation"
    ]
    return max(seen)[1] if seen else None


def _route_performance(raw: set[datetime], wanted: set[datetime]) -> Iterator[Row]:
    by_route: dict[tuple[str, str, str], list[tuple[str, datetime, Row]]] = defaultdict(list)
    for kind, _, known, flight in _facts(raw):
        if kind != "arrival":
            by_route[flight["carrier"], flight["origin"], flight["dest"]].append((kind, known, flight))
    for (carrier, origin, dest), facts in by_route.items():
        for end in (day + DAY for day in wanted):
            window = [(kind, flight) for kind, known, flight in facts if end - 7 * DAY <= known < end]
            delays = [flight["dep_delay"] for kind, flight in window if kind == "departure"]
            if window:
                yield {
                    "carrier": carrier,
                    "origin": origin,
                    "dest": dest,
                    "event_timestamp": end,
                    "flights_7d": len(delays),
                    "mean_dep_delay_7d": _mean(delays),
                    "p90_dep_delay_7d": _percentile(delays, 0.9),
                    "cancellation_rate_7d": (len(window) - len(delays)) / len(window),
                }


def _airport_hourly(raw: set[datetime], wanted: set[datetime]) -> Iterator[Row]:
    delays: dict[tuple[str, datetime], list[float]] = defaultdict(list)
    for kind, _, known, flight in _facts(raw):
        if kind == "departure" and _floor(known, DAY) in wanted:
            delays[flight["origin"], _floor(known, HOUR)].append(flight["dep_delay"])
    for (origin, hour), found in delays.items():
        yield {
            "origin": origin,
            "event_timestamp": hour + HOUR,
            "departures": len(found),
            "mean_dep_delay": _mean(found),
        }


def _airport_weather_hourly(raw: set[datetime], wanted: set[datetime]) -> Iterator[Row]:
    return _weather_news(oracle_csv.weather(raw), wanted)


def _weather_news(readings: list[Row], wanted: set[datetime]) -> Iterator[Row]:
    """Asks at the end of every hour which reading is the newest, and tells those answers that differ from the last."""
    features = ("temp", "wind_speed", "visib", "precip", "pressure")
    for origin in sorted({reading["origin"] for reading in readings}):
        told = [reading for reading in readings if reading["origin"] == origin]
        for end in sorted(day + n * HOUR for day in wanted for n in range(1, 25)):
            now, before = (
                max(
                    (r for r in told if r["known_at"] < at), key=lambda r: (r["observed_at"], r["known_at"]), default={}
                )
                for at in (end, end - HOUR)
            )
            if any(now.get(name) != before.get(name) for name in ("observed_at", *features)):
                values = {name: now[name] for name in features}
                yield {"origin": origin, "event_timestamp": end, **values}


_TABLES: dict[str, Callable[[set[datetime], set[datetime]], Iterator[Row]]] = {
    "aircraft_daily": _aircraft_daily,
    "route_performance": _route_performance,
    "airport_hourly": _airport_hourly,
    "airport_weather_hourly": _airport_weather_hourly,
}


def _facts(raw: set[datetime]) -> Iterator[tuple[str, datetime, datetime, Row]]:
    """Kind, when it happened, when it is known, and the flight."""
    moments = {"cancellation": "scheduled_at", "departure": "departed_at", "arrival": "arrived_at"}
    for day in sorted(raw):
        for flight in oracle_csv.flights([day]):
            for kind in ("cancellation",) if flight["cancelled"] else ("departure", "arrival"):
                happened = flight[moments[kind]]
                if happened is not None:
                    yield kind, happened, max(happened, day), flight


def _raw_days(wanted: set[datetime], landed: Iterable[str] | None) -> set[datetime]:
    if landed is not None:
        return {_midnight(day) for day in landed}
    return {day - n * DAY for day in wanted for n in range(9)}


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _floor(instant: datetime, unit: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return instant - (instant - epoch) % unit


def _day_ended(event_time: datetime) -> datetime:
    return _floor(event_time - timedelta(microseconds=1), DAY)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _percentile(values: list[float], share: float) -> float | None:
    """Between the two nearest ranks, linearly: rank 0 is the least value, rank n - 1 the greatest."""
    if not values:
        return None
    ordered = sorted(values)
    rank = share * (len(ordered) - 1)
    low, part = math.floor(rank), rank - math.floor(rank)
    return ordered[low] if part == 0 else ordered[low] * (1 - part) + ordered[low + 1] * part
