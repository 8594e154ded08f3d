"""Sources: where raw rows come from. One module each, found by file name; importing this reads no data."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    import pyarrow as pa

    from feature_pipelines.environment import Environment
    from spark_jobs.contract import RawTable
    from spark_jobs.interval import Interval

FLAW = "flaw"
"""Name of the extra text column by which a source says what is wrong with a row; null = nothing it knows of."""

PLACE = "place"
"""Name of the extra text column by which a stream says where a row is in it: partition and offset."""

UNREADABLE = "unreadable"
"""Name of the extra text column by which a stream says why a record is no row at all; null = it is one."""


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

    @property
    def is_stream(self) -> bool:
        """Whether rows are records of a stream, where a thing may be told again: see `checks`.

        Then the contract's time column is when a record was enqueued, and its other key columns say what it is about.
        """

    @property
    def lag(self) -> Mapping[int, int] | None:
        """Records of each partition of a stream that came after the interval that was `fixed`; None for a file."""

    def fixed(self, interval: Interval, *, allow_shrink: bool = False) -> Source:
        """The same source with the interval's extent settled once for all, so that its rows are the same ever after.

        Raises DataError when what was settled can no longer be read, and TransportError when the interval is not over.
        `allow_shrink` accepts that a stream was made anew, or that it may have lost records before it was first read.
        """

    def flaws(self, rows: pa.RecordBatch) -> pa.Array:
        """What is wrong with each row (the contract's columns) beyond the contract, as text; null = nothing."""

    def batches(self, interval: Interval) -> Iterator[pa.RecordBatch]:
        """Every row of the interval, in the source's order: the contract's columns, then `flaw`.

        A stream adds `place` and `unreadable`.
        A row whose interval cannot be told because its own time is broken belongs to its written date.
        Raises DataError, naming everything that is broken, for a file that cannot be read as the contract says.
        """


class Packaged:
    """What is the same for every source that reads files of a package: nothing has to be settled."""

    is_stream = False
    lag = None

    def fixed(self, interval: Interval, *, allow_shrink: bool = False) -> Self:  # noqa: ARG002 - part of the protocol
        """Itself: the files do not change."""
        return self

    def flaws(self, rows: pa.RecordBatch) -> pa.Array:
        """Nothing."""
        import pyarrow as pa

        return pa.nulls(rows.num_rows, pa.string())


@cache
def sources() -> dict[str, Source]:
    """All sources by name, sorted: each module of this folder holds one in `SOURCE`, named like its file.

    It says what a source is, for every environment. Where its rows come from in one of them: `source`.
    """
    names = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    return {name: _load(name) for name in names}


def source(env: Environment, name: str) -> Source:
    """The source as the environment's file has it: packaged unless `sources.<name>` says that it is a stream.

    Raises EnvironmentBroken for settings that make no sense; connects to nothing.
    """
    settings = (env.config.get("sources") or {}).get(name, {"kind": "packaged"})
    if settings == {"kind": "packaged"}:
        return sources()[name]
    from feature_pipelines.streams.source import stream_source

    return stream_source(env, sources()[name], settings)


def _load(name: str) -> Source:
    module = importlib.import_module(f"{__name__}.{name}")
    loaded: Source | None = getattr(module, "SOURCE", None)
    if loaded is None or loaded.name != name:
        found = "no SOURCE" if loaded is None else f"SOURCE.name {loaded.name!r}"
        raise ValueError(f"sources/{name}.py: expected SOURCE with name {name!r}, found {found}")
    return loaded
