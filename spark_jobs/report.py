"""The report of an executed order: what was staged where, and which promises of the contract are broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_FIELDS = frozenset({"order_id", "table", "staged", "intervals", "broken", "seconds"})


class ReportError(ValueError):
    """A report that cannot be read, for instance because it is truncated."""


@dataclass(frozen=True)
class IntervalResult:
    """The build an interval was ordered with and the number of rows staged for it; zero rows have no folder."""

    build: str
    rows: int


@dataclass(frozen=True)
class Report:
    """`staged` is the folder of this execution's Parquet files; a report with `broken` promises must not be published."""

    order_id: str
    table: str
    staged: str
    intervals: Mapping[str, IntervalResult]
    broken: tuple[str, ...]
    seconds: float

    @property
    def rows(self) -> dict[str, int]:
        """Partition value -> staged rows."""
        return {partition: result.rows for partition, result in self.intervals.items()}

    def verdict(self) -> str:
        """The message a person reads when promises are broken: where, expected and found, what was kept."""
        days = sorted(self.intervals)
        span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        promises = f"{len(self.broken)} promise{'s' if len(self.broken) > 1 else ''} broken"
        lines = [f"{self.table} {span}: {promises}", *(f"  {sentence}" for sentence in self.broken)]
        return "\n".join([*lines, f"Staged rows kept at {self.staged}; nothing was published."])

    def to_json(self) -> str:
        """One line, so that it is also one line of a Spark text file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Strict: anything but exactly the fields of a report raises ReportError."""
        try:
            document: Any = json.loads(text)
            if set(document) != _FIELDS:
                raise ReportError(f"report: expected the fields {sorted(_FIELDS)}, found {sorted(document)}")
            intervals = {day: IntervalResult(**result) for day, result in document["intervals"].items()}
            return cls(**{**document, "intervals": intervals, "broken": tuple(document["broken"])})
        except (json.JSONDecodeError, TypeError, AttributeError) as error:
            raise ReportError(f"report: not a report ({error}); found {text[:200]!r}") from None
