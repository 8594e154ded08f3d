"""Does Redis hold what its record says? The server's own history, the count of keys, and rows compared byte for byte."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from redis import Redis

from feast_lakehouse import record
from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import OnlineMismatch, VersionUnavailable
from feast_lakehouse.keys import key_cells
from feast_lakehouse.newest import MICROS_COLUMN, Files, Memory, NewestRows
from feast_lakehouse.newest_wins import Stored
from feast_lakehouse.readers import NAME
from feast_lakehouse.record import Record, RecordKeys, Seen
from feast_lakehouse.resp import row_cells
from feast_lakehouse.scan import readable
from feast_lakehouse.server import Server
from feast_lakehouse.view import View
from feast_lakehouse.wire import reachable

QUICK_SAMPLE = 50
"""Rows compared before each run."""
RESTART_SAMPLE = 500
"""Rows compared, and all keys counted, when the server's replication id is another one."""


@dataclass(frozen=True)
class VerifyReport:
    """A clean verdict: table version held online, keys in table and online, rows compared, of which newer pushes."""

    view: str
    version: int
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
            verify_view(client, view, ref, sample=RESTART_SAMPLE, memory=memory)
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
    with NewestRows(view, memory, whole=Files(ref, state, frozenset({path}))) as rows:
        return _Comparison(client, view, held).all(rows.sample(sample), newest=False).broken


def verify_view(
    client: Redis, view: View, ref: TableRef, *, sample: int = 200, memory: Memory | None = None
) -> VerifyReport:
    """Compare Redis with the table at the version it says it holds: key count, and a random sample of newest rows.

    Raises OnlineMismatch naming what differs.
    """
    with reachable(f"verifying {view.name}"), readable(ref.uri):
        held = record.read(client, view).record
        if held is None or held.held is None:
            raise OnlineMismatch(f"{view.name}: expected a version online, found none; materialize the view first.")
        if held.attempted:
            raise OnlineMismatch(
                f"{view.name}: version {max(held.attempted)} was begun and not finished; materialize again."
            )
        state = ref.state(held.held)
        with NewestRows(view, memory or Memory(), whole=Files.whole(ref, state)) as rows:
            in_table = rows.count_keys()
            compared = _Comparison(client, view, held).all(rows.sample(sample), newest=True)
        keys = RecordKeys.of(view)
        counters: Any = client.mget(keys.count, keys.pushes)
        online, pushes = (int(value or 0) for value in counters)
    broken = compared.broken
    if not in_table <= online <= in_table + pushes:
        broken = [f"expected {in_table} keys (and at most {pushes} pushed ones), found {online}", *broken]
    if broken:
        found = "\n  ".join(broken[:10])
        raise OnlineMismatch(
            f"{view.name} version {held.held}: {len(broken)} differences online\n  {found}\nMaterialize again to rebuild."
        )
    return VerifyReport(view.name, held.held, in_table, online, compared.rows, compared.pushed)


class _Comparison:
    """Rows of the table against rows in Redis."""

    def __init__(self, client: Redis, view: View, held: Record) -> None:
        self._client, self._view, self._held = client, view, held
        self.broken: list[str] = []
        self.rows = self.pushed = 0

    def all(self, batches: Iterable[pa.RecordBatch], *, newest: bool) -> _Comparison:
        """Compare; `newest`: the rows are the newest of their keys, else Redis may hold later ones."""
        for batch in batches:
            self._one(batch, newest=newest)
        return self

    def _one(self, batch: pa.RecordBatch, *, newest: bool) -> None:
        view, micros = self._view, batch.column(MICROS_COLUMN).to_numpy(zero_copy_only=False).astype(np.int64)
        keys = key_cells([batch.column(name) for name, _ in view.keys], view.keys, view.project).to_pylist()
        cells = row_cells(view, batch, micros)
        found = self._read(keys, [view.order_field, *(field for field, _ in cells)])
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

    def _read(self, keys: list[bytes], fields: list[bytes]) -> list[list[bytes | None]]:
        pipe: Any
        with self._client.pipeline(transaction=False) as pipe:
            pipe.client_setname(NAME)
            for key in keys:
                pipe.hmget(key, fields)
            pipe.client_setname("")  # the next user of the connection may be a reader
            return list(pipe.execute()[1:-1])

    def _differs(self, batch: pa.RecordBatch, row: int, how: str) -> None:
        key = {name: batch.column(name)[row].as_py() for name, _ in self._view.keys}
        self.broken.append(f"{self._view.name} {key}: {how}")
