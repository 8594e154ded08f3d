"""What must come of weather messages, worked out in plain Python from the messages alone; shares no code with the pipeline.

A message is (partition, instant at which it was enqueued, bytes), in the order of its partition. `raw` says which of them
land as readings, `features` what airport_weather_hourly says when those have landed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests import oracle

Row = dict[str, Any]
Message = tuple[int, datetime, bytes]

LIMITS: dict[str, tuple[float, float]] = {
    "temp": (-80, 140),
    "dewp": (-100, 110),
    "humid": (0, 100),
    "wind_dir": (0, 360),
    "wind_speed": (0, 200),
    "wind_gust": (0, 250),
    "precip": (0, 20),
    "pressure": (850, 1090),
    "visib": (0, 100),
}
DAY = timedelta(days=1)


def raw(messages: Iterable[Message], days: Iterable[str]) -> list[Row]:
    """The readings that land in the given UTC days of enqueuing, by airport, observed hour and time of enqueuing."""
    landed: list[Row] = []
    for day in days:
        start = datetime.fromisoformat(day).replace(tzinfo=UTC)
        sound = [
            (row["known_at"], place, row)
            for place, (partition, enqueued, value) in enumerate(sorted(messages, key=lambda message: message[0]))
            if start <= enqueued < start + DAY and (row := _reading(enqueued, value)) is not None
        ]
        landed += _news_of_the_day([row for _, _, row in sorted(sound, key=lambda each: each[:2])])
    return sorted(landed, key=lambda row: (row["origin"], row["observed_at"], row["known_at"]))


def rejected(messages: Iterable[Message], day: str) -> int:
    """How many messages of the UTC day of enqueuing do not land."""
    messages = list(messages)
    sent = sum(1 for _, enqueued, _ in messages if enqueued.date().isoformat() == day)
    return sent - len(raw(messages, [day]))


def features(messages: Iterable[Message], days: Iterable[str], *, landed: Iterable[str]) -> list[Row]:
    """The rows of airport_weather_hourly of the given days, when the messages of the days `landed` have landed."""
    return oracle.weather_features(raw(messages, landed), days)


def _news_of_the_day(readings: list[Row]) -> list[Row]:
    """Without readings that only repeat the one before, and without all but the last of one instant."""
    last: dict[tuple[Any, Any], Row] = {}
    kept: dict[tuple[Any, Any, Any], Row] = {}
    for reading in readings:
        about = (reading["origin"], reading["observed_at"])
        before = last.get(about)
        if before is None or any(before[name] != reading[name] for name in LIMITS):
            kept[*about, reading["known_at"]] = reading
        last[about] = reading
    return list(kept.values())


def _reading(enqueued: datetime, value: bytes) -> Row | None:
    try:
        told = json.loads(value)
        if set(told) != {"origin", "observed_at", *LIMITS} or not isinstance(told["origin"], str):
            return None
        observed = datetime.fromisoformat(told["observed_at"])
        for name, (least, most) in LIMITS.items():
            if told[name] is not None and not least <= told[name] <= most:
                return None
    except (ValueError, TypeError):
        return None
    midnight = observed.replace(hour=0, minute=0, second=0, microsecond=0)
    if (observed - midnight) % timedelta(hours=1) or not observed <= enqueued < midnight + 3 * DAY:
        return None
    measured = {name: None if told[name] is None else float(told[name]) for name in LIMITS}
    return {"origin": told["origin"], "observed_at": observed, "known_at": enqueued, **measured}
