"""A log in memory, for what is said about logs in general; the real ones are tested on real brokers and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from feature_pipelines.streams.log import Bounds, Record, Span


@dataclass
class MemoryLog:
    """`partitions` maps a partition to its stamps by offset; offsets below `lows` have been dropped."""

    partitions: dict[int, list[datetime]]
    lows: dict[int, int] = field(default_factory=dict)
    by_broker: bool = False
    identity: str | None = None
    name: str = "a log in memory"
    settles_after: timedelta = timedelta(seconds=30)

    def bounds(self) -> dict[int, Bounds]:
        return {
            partition: Bounds(self.lows.get(partition, 0), len(held)) for partition, held in self.partitions.items()
        }

    def offsets_at(self, instant: datetime) -> dict[int, int | None]:
        return {
            partition: next(
                (n for n in range(bounds.low, bounds.high) if self.partitions[partition][n] >= instant), None
            )
            for partition, bounds in self.bounds().items()
        }

    def is_stamped_by_broker(self) -> bool | None:
        return self.by_broker if any(self.partitions.values()) else None

    def read(self, span: Span) -> Iterator[Record]:
        for offset in range(span.first, span.end):
            yield Record(span.partition, offset, self.partitions[span.partition][offset], b"{}")
