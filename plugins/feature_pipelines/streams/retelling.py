"""The packaged weather readings as messages: when each became known, and which are late, doubled or broken on purpose."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from feature_pipelines.sources import sources
from feature_pipelines.sources.weather import KNOWN_AFTER
from feature_pipelines.streams.messages import message_columns
from spark_jobs.interval import Interval

if TYPE_CHECKING:
    from spark_jobs.contract import RawTable

WEATHER: Final = "weather"
LATEST: Final = timedelta(hours=24)
"""A late message comes at most so much later, in whole hours."""

DOUBLED_WITHIN: Final = timedelta(hours=3)
_LONGEST: Final = timedelta(days=3)


@dataclass(frozen=True)
class Faults:
    """Shares of the readings, 0 to 1, that are told wrongly on purpose; which ones, `seed` decides.

    Late: 1 to 24 whole hours after the reading became known. Doubled: told again within three hours. Broken: told so
    that it is no row (cut short, without a column, or with a text for a number).
    """

    late: float = 0.0
    doubled: float = 0.0
    broken: float = 0.0
    seed: int = 2013

    def __post_init__(self) -> None:
        wrong = [name for name in ("late", "doubled", "broken") if not 0 <= getattr(self, name) <= 1]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: expected a share from 0 to 1")


@dataclass(frozen=True, order=True)
class Message:
    """What is told, about which airport (`key`), and when it becomes known: the record's timestamp."""

    known_at: datetime
    key: str
    value: bytes


def messages(interval: Interval, faults: Faults = Faults()) -> list[Message]:
    """Every message that becomes known in the interval, in this order; of readings before it too, when they are late.

    A reading is told 59 minutes after the beginning of its hour. What becomes of it does not depend on the interval:
    two halves of an interval have the messages of the whole.
    """
    source = sources()[WEATHER]
    told: list[Message] = []
    for batch in source.batches(Interval(interval.start - _LONGEST, interval.end)):
        for row in batch.to_pylist():
            told.extend(_told(row, source.contract, faults))
    return sorted(message for message in told if interval.contains(message.known_at))


def _told(row: dict[str, Any], contract: RawTable, faults: Faults) -> Iterator[Message]:
    dice = random.Random(f"{faults.seed} {row['origin']} {row['observed_at']}")  # noqa: S311 - it decides no secret
    is_late, is_doubled, is_broken = (dice.random() < share for share in (faults.late, faults.doubled, faults.broken))
    hours, minutes, way = dice.randint(1, LATEST // timedelta(hours=1)), dice.randrange(179), dice.randrange(3)
    known_at = row["observed_at"] + KNOWN_AFTER + (timedelta(hours=hours) if is_late else timedelta())
    value = {column.name: _plain(row[column.name]) for column in message_columns(contract)}
    text = _broken(value, way) if is_broken else json.dumps(value)
    yield Message(known_at, row["origin"], text.encode())
    if is_doubled:
        # Never on a whole minute, so that no message is known at the very end of a day.
        yield Message(known_at + timedelta(minutes=minutes, seconds=30), row["origin"], text.encode())


def _plain(value: object) -> object:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _broken(value: dict[str, object], way: int) -> str:
    text = json.dumps(value)
    without = {name: told for name, told in value.items() if name != "temp"}
    return (text[: len(text) // 2], json.dumps(without), json.dumps(value | {"temp": "warm"}))[way]
