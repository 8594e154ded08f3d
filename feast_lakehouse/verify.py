"""Does Redis hold what its record says? The server's own history, rows compared byte for byte, and rows counted."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from redis import Redis

from feast_lakehouse import record
from feast_lakehouse.census import census, read_fields
from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import OnlineMismatch, TransportError, Unfinished, VersionUnavailable
from feast_lakehouse.files import Files
from feast_lakehouse.keys import key_cells
from feast_lakehouse.newest import MICROS_COLUMN, Memory, NewestRows
from feast_lakehouse.newest_wins import Stored
from feast_lakehouse.record import Record, RecordKeys, Seen
from feast_lakehouse.resp import row_cells
from feast_lakehouse.scan import readable
from feast_lakehouse.server import Server
from feast_lakehouse.view import View
from feast_lakehouse.wire import reachable

QUICK_SAMPLE = 50
"""Rows compared before each run."""
RESTART_SAMPLE = 500
"""Rows compared, and all rows counted, when the server's replication id is another one."""
TOLD = 10
"""Differences that an error names."""


@dataclass(frozen=True)
class VerifyReport:
    """A clean verdict: table version held online and the table's newest, keys of the held one in table and online, rows
    compared, of which newer pushes.

    `counted` says how `online_keys` was found: by walking every key in Redis, or as its bookkeeping says.
    """

    view: str
    version: int
    newest_version: int
    counted: bool
    table_keys: int
    online_keys: int
    compared: int
    pushed: int


def what_is_lost(
    client: Redis, view: View, ref: TableRef, seen: Seen, server: Server, *, memory: Memory, sample: int
) -> str:
    """A reason to distrust Redis, or "". Cheap: one file's sample; a full verification only after a restart or failover."""
    held = seen.record
    if held is None or held.held is None or held.attempted:
        return ""
    try:
        if server.replid != held.replid:
            # Redis loses only a suffix of its history at a restart or failover, and the record is written last: if the
            # record is there, so is what it speaks of. Compared all the same before the new server is trusted.
            verify_view(client, view, ref, sample=RESTART_SAMPLE, memory=memory, count=True)
        broken = _quick(client, view, ref, held, memory, sample) if sample else []
    except OnlineMismatch as error:
        return str(error)
    except VersionUnavailable:
        return ""
    return broken[0] if broken else ""


def _quick(client: Redis, view: View, ref: TableRef, held: Record, memory: Memory, sample: int) -> list[str]:
    version = held.held
    if version is None:
        return []
    state = ref.state(version)
    filled = [path for path, entry in state.files.items() if entry.rows != 0]
    if not filled:
        return []
    path = random.choice(filled)  # noqa: S311 — a different file each run, so that every loss is met in the end
    one_file = Files(ref, state, frozenset({path}))
    with NewestRows(view, memory, whole=Files.whole(ref, state), added=one_file) as rows:
        found = _Comparison(client, view, held).all(rows.sample_added(sample), newest=False)
        if not found.broken:
            return []
        # A row with the same key and event time may stand in another file, and count.
        return _Comparison(client, view, held).all(rows.sampled(), newest=True).broken


def verify_view(
    client: Redis,
    view: View,
    ref: TableRef,
    *,
    sample: int | None = 200,
    count: bool = False,
    memory: Memory | None = None,
) -> VerifyReport:
    """Compare Redis with the table at the version it says it holds: the newest rows of keys chosen at random.

    `sample` is how many keys are compared, None for all. Where all are compared, or with `count`, all rows of the view
    in Redis are counted too, so that one which the table has not is noticed as well. Raises OnlineMismatch naming what
    differs (Unfinished where a run was begun), TransportError when a run moved the record meanwhile.
    """
    with reachable(f"verifying {view.name}"), readable(ref.uri):
        seen = record.read(client, view)
        held = seen.record
        if held is None or held.held is None:
            raise OnlineMismatch(f"{view.name}: expected a version online, found none; materialize the view first.")
        if held.attempted:
            raise Unfinished(
                f"{view.name}: version {max(held.attempted)} was begun and not finished; materialize again."
            )
        newest, pushes = ref.state(), _number(client, RecordKeys.of(view).pushes)
        state = newest if newest.version == held.held else ref.state(held.held)
        with NewestRows(view, memory or Memory(), whole=Files.whole(ref, state)) as rows:
            in_table = rows.count_keys()
            size = in_table if sample is None else sample
            everything = size >= in_table
            chosen = rows.every() if everything else rows.sample(size)
            compared = _Comparison(client, view, held).all(chosen, newest=True)
        counted = everything or count
        online, wrong = (
            _counted(client, view, held, in_table, compared.pushed if everything else None, pushes)
            if counted
            else _remembered(client, view, in_table)
        )
        moved = record.read(client, view) != seen
    if differences := compared.differences + bool(wrong):
        if moved:
            raise TransportError(f"{view.name}: a run was at work while Redis was compared; verify again.")
        found = "\n  ".join([*filter(None, [wrong]), *compared.broken][:TOLD])
        raise OnlineMismatch(
            f"{view.name} version {held.held}: {differences} differences online\n  {found}\nMaterialize again to rebuild."
        )
    return VerifyReport(view.name, held.held, newest.version, counted, in_table, online, compared.rows, compared.pushed)


def _counted(
    client: Redis, view: View, held: Record, in_table: int, over_table: int | None, pushes_before: int
) -> tuple[int, str]:
    """Rows online, and what is wrong with their number, or "": each key of the table has its row, unless one was pushed over it.

    `over_table` is how many keys of the table had a pushed row, None when nobody knows; pushes since may have made more.
    """
    found = census(client, view, held.generation)
    since = _number(client, RecordKeys.of(view).pushes) - pushes_before
    most = in_table - (over_table or 0)
    least = in_table - found.pushed if over_table is None else most - since
    if not least <= found.batch <= most:
        return found.batch + found.pushed, f"expected {most} rows of this version in Redis, found {found.batch}"
    if found.stale:
        return found.batch + found.pushed, f"expected no rows of an earlier generation in Redis, found {found.stale}"
    return found.batch + found.pushed, ""


def _remembered(client: Redis, view: View, in_table: int) -> tuple[int, str]:
    """As _counted, by the counters that the runs keep."""
    keys = RecordKeys.of(view)
    online, pushes = _number(client, keys.count), _number(client, keys.pushes)
    if in_table <= online <= in_table + pushes:
        return online, ""
    return online, f"expected {in_table} keys (and at most {pushes} pushed ones), found {online}"


def _number(client: Redis, key: bytes) -> int:
    value: Any = client.get(key)
    return int(value or 0)


class _Comparison:
    """Rows of the table against rows in Redis."""

    def __init__(self, client: Redis, view: View, held: Record) -> None:
        self._client, self._view, self._held = client, view, held
        self.broken: list[str] = []
        self.differences = self.rows = self.pushed = 0

    def all(self, batches: Iterable[pa.RecordBatch], *, newest: bool) -> _Comparison:
        """Compare; `newest`: the rows are the newest of their keys, else Redis may hold later ones."""
        for batch in batches:
            self._one(batch, newest=newest)
        return self

    def _one(self, batch: pa.RecordBatch, *, newest: bool) -> None:
        view, micros = self._view, batch.column(MICROS_COLUMN).to_numpy(zero_copy_only=False).astype(np.int64)
        keys = key_cells([batch.column(name) for name, _ in view.keys], view.keys, view.project).to_pylist()
        cells = row_cells(view, batch, micros)
        found = read_fields(self._client, keys, [view.order_field, *(field for field, _ in cells)])
        stored = Stored.parse([row[0] for row in found], [row[-1] for row in found])
        expected = list(zip(*(values.to_pylist() for _, values in cells), strict=True))
        for i, row in enumerate(found):
            same = stored.micros[i] == micros[i]
            self.pushed += bool(stored.push[i])
            if not stored.present[i]:
                self._differs(batch, i, "missing online")
            elif stored.push[i]:
                continue
            elif stored.micros[i] < micros[i] or (newest and not same):
                self._differs(batch, i, f"event time online {stored.micros[i]}, in the table {micros[i]} (µs)")
            elif same and tuple(row[1:]) != expected[i]:
                self._differs(batch, i, "other bytes online than in the table")
        self.rows += len(found)

    def _differs(self, batch: pa.RecordBatch, row: int, how: str) -> None:
        self.differences += 1
        if len(self.broken) == TOLD:
            return
        key = {name: batch.column(name)[row].as_py() for name, _ in self._view.keys}
        self.broken.append(f"{self._view.name} {key}: {how}")
