"""Sources: where raw rows come from. One module each, found by file name; importing this reads no data."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import pyarrow as pa

    from spark_jobs.contract import RawTable
    from spark_jobs.interval import Interval

FLAW = "flaw"
"""Name of the extra text column by which a source says what is wrong with a row; null = nothing it knows of."""


class Source(Protocol):
    """A raw data set that can be fetched interval by interval, as often as one likes, with the same rows."""

    @property
    def name(self) -> str:
        """The name of the raw table, of the module and of its landing DAG."""

    @property
    def contract(self) -> RawTable:
        """What a raw row is."""

    @property
    def first_day(self) -> date:
        """The first UTC day with data."""

    @property
    def last_day(self) -> date:
        """The last UTC day with data."""

    @property
    def fact_columns(self) -> tuple[str, ...]:
        """Time columns at which something became known."""

    @property
    def known_within_days(self) -> int:
        """How many days after its raw day a fact may still become known; later ones are quarantined."""

    def batches(self, interval: Interval) -> Iterator[pa.RecordBatch]:
        """Every row of the interval, in the source's order: the contract's columns, then `flaw`.

        A row whose interval cannot be told because its own time is broken belongs to its written date.
        Raises DataError, naming everything that is broken, for a file that cannot be read as the contract says.
        """


@cache
def sources() -> dict[str, Source]:
    """All sources by name, sorted: each module of this folder holds one in `SOURCE`, named like its file."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    return {name: _load(name) for name in names}


def _load(name: str) -> Source:
    module = importlib.import_module(f"{__name__}.{name}")
    source: Source | None = getattr(module, "SOURCE", None)
    if source is None or source.name != name:
        found = "no SOURCE" if source is None else f"SOURCE.name {source.name!r}"
        raise ValueError(f"sources/{name}.py: expected SOURCE with name {name!r}, found {found}")
    return source
