"""The offsets of settled intervals: a small Delta table `raw/<source>_offsets` beside the raw table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from feast_lakehouse.tables import write_interval
from feature_pipelines.streams.log import Span

if TYPE_CHECKING:
    from feast_lakehouse.delta import TableRef

SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("topic_id", pa.string()),
        ("partition", pa.int32()),
        ("first_offset", pa.int64()),
        ("end_offset", pa.int64()),
    ]
)
"""One row per partition of the stream: first_offset <= offset < end_offset; topic_id is null where there is none."""


@dataclass(frozen=True)
class Settled:
    """The extent of an interval in one stream."""

    topic: str
    topic_id: str | None
    spans: tuple[Span, ...]

    def is_of(self, topic: str, topic_id: str | None) -> bool:
        """Whether it is about this very stream, as far as can be told."""
        return self.topic == topic and (None in (self.topic_id, topic_id) or self.topic_id == topic_id)

    @property
    def firsts(self) -> dict[int, int]:
        """Partition -> first offset."""
        return {span.partition: span.first for span in self.spans}

    @property
    def ends(self) -> dict[int, int]:
        """Partition -> the offset after the last one."""
        return {span.partition: span.end for span in self.spans}


class _SettledMeanwhile(Exception):
    """Another landing was first."""


def read_offsets(ref: TableRef, day: str) -> Settled | None:
    """What is settled for the day; None = nothing yet."""
    if not ref.exists():
        return None
    state = ref.state()
    paths = [path for path, entry in state.files.items() if entry.partition["interval_start"] == day]
    if not paths:
        return None
    rows = ref.dataset(paths, state.version).to_table(columns=SCHEMA.names).to_pylist()
    spans = sorted(Span(row["partition"], row["first_offset"], row["end_offset"]) for row in rows)
    return Settled(rows[0]["topic"], rows[0]["topic_id"], tuple(spans))


def settled_days(ref: TableRef) -> list[str]:
    """Every day that is settled, sorted; from the log alone."""
    return sorted(ref.live_builds())


def write_offsets(ref: TableRef, day: str, settled: Settled, *, replace: Settled | None = None) -> Settled:
    """Settles the day in one commit and returns what is settled now: another's extent, if another was first.

    What is settled changes only when it still is `replace`.
    """

    def rows() -> Iterator[pa.RecordBatch]:
        # Drawn after the table was looked at: whoever commits after this check makes the commit below fail.
        if read_offsets(ref, day) != replace:
            raise _SettledMeanwhile
        yield pa.RecordBatch.from_pylist([_row(settled, span) for span in settled.spans], schema=SCHEMA)

    try:
        write_interval(ref, day, rows(), schema=SCHEMA, allow_shrink=True)
    except _SettledMeanwhile:
        found = read_offsets(ref, day)
        return found or write_offsets(ref, day, settled)
    return settled


def _row(settled: Settled, span: Span) -> dict[str, str | int | None]:
    names = (settled.topic, settled.topic_id, span.partition, span.first, span.end)
    return dict(zip(SCHEMA.names, names, strict=True))
