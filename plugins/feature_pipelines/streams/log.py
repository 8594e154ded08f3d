"""A partitioned log of records: what cutting intervals needs to know of Event Hubs, Kafka or Capture files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from feast_lakehouse.errors import TransportError

HEARTBEAT = "heartbeat"
"""A record with a header (Capture: a property) of this name is no row: it says that nothing earlier will follow."""


class NotOver(TransportError):
    """The interval is not over, so its extent cannot be settled yet: land it later."""


@dataclass(frozen=True)
class Record:
    """One record. `enqueued` is its timestamp, UTC; `value` None = it has none."""

    partition: int
    offset: int
    enqueued: datetime
    value: bytes | None
    is_heartbeat: bool = False

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"partition {self.partition} offset {self.offset}"


@dataclass(frozen=True, order=True)
class Span:
    """The records of a partition with first <= offset < end. Offsets may be missing inside it, not repeated."""

    partition: int
    first: int
    end: int

    @property
    def is_empty(self) -> bool:
        """Whether it holds no offset."""
        return self.first >= self.end

    def __str__(self) -> str:
        return f"partition {self.partition}, offsets {self.first} to {self.end - 1}"


@dataclass(frozen=True)
class Bounds:
    """A partition now: `low` is the lowest offset that is still held, `high` the one the next record will get."""

    low: int
    high: int


class Log(Protocol):
    """A partitioned log. Everything but `read` is about the moment it is called.

    Raises DataError for what only somebody can mend (login, missing topic, lost records), TransportError for what may
    mend itself.
    """

    @property
    def name(self) -> str:
        """The stream and the way to it, as messages call it."""

    @property
    def identity(self) -> str | None:
        """Another one after the stream was deleted and made anew; None when the log cannot tell."""

    @property
    def settles_after(self) -> timedelta:
        """How long after an instant no record enqueued before it can turn up any more."""

    def bounds(self) -> Mapping[int, Bounds]:
        """Every partition."""

    def offsets_at(self, instant: datetime) -> Mapping[int, int | None]:
        """For every partition the first offset whose record was enqueued at the instant or later; None = no such."""

    def is_stamped_by_broker(self) -> bool | None:
        """Whether the broker stamps records as it takes them; else the producer does. None = no record to tell by."""

    def read(self, span: Span) -> Iterator[Record]:
        """Every record of the span, each once, by offset. Raises DataError when some are gone."""
