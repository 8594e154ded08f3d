"""Rows pushed straight into Redis (FeatureStore.push, write_to_online_store) under the same order as batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from redis import Redis, WatchError

from feast_lakehouse.cells import Ints
from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.newest_wins import Stored, order_cells, push_wins
from feast_lakehouse.record import Record, RecordKeys
from feast_lakehouse.view import CLOCK_SKEW_MICROS, View, feature_field

CHUNK_ROWS = 100
ATTEMPTS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class PushedRow:
    """One row: its Redis key, its event time in µs since 1970 UTC, its serialized feature values by name."""

    key: bytes
    micros: int
    values: dict[str, bytes]


def push_rows(
    client: Redis, view: View, rows: Sequence[PushedRow], *, now: int, progress: Callable[[int], Any] | None = None
) -> None:
    """Write each row unless Redis holds a newer one, or a batch row of the same event time.

    Raises DataError for an event time more than five minutes after `now` (µs since 1970 UTC): it would hide every
    later row; TransportError when other writers keep overtaking.
    """
    late = [row for row in rows if row.micros > now + CLOCK_SKEW_MICROS]
    if late:
        raise DataError(
            f"{view.name}: expected event times up to now, found {_moment(late[0].micros)} in {len(late)} of {len(rows)} pushed rows. "
            "Nothing was written; correct the clock or the time zone of whoever pushes."
        )
    newest: dict[bytes, PushedRow] = {}
    for row in rows:
        if row.key not in newest or row.micros >= newest[row.key].micros:
            newest[row.key] = row
    for chunk in _chunks(list(newest.values())):
        _push_chunk(client, view, chunk)
        if progress:
            progress(len(chunk))


def _moment(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()


def _chunks(rows: list[PushedRow]) -> Iterator[list[PushedRow]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK_ROWS)):
        yield chunk


def _push_chunk(client: Redis, view: View, rows: list[PushedRow]) -> None:
    for _ in range(ATTEMPTS):
        try:
            return _try_push(client, view, rows)
        except WatchError:
            continue
    raise TransportError(
        f"{view.name}: other writers overtook a push {ATTEMPTS} times; nothing of this chunk was written."
    )


def _try_push(client: Redis, view: View, rows: list[PushedRow]) -> None:
    keys = RecordKeys.of(view)
    pipe: Any
    with client.pipeline(transaction=True) as pipe:
        pipe.watch(keys.record, *(row.key for row in rows))
        held = Record.from_hash(pipe.hgetall(keys.record), keys.record)
        generation = held.generation if held else 0
        found = [pipe.hmget(row.key, [view.order_field, view.timestamp_field]) for row in rows]
        stored = Stored.parse([f[0] for f in found], [f[1] for f in found])
        micros: Ints = np.array([row.micros for row in rows], np.int64)
        mask = push_wins(stored, micros)
        fresh = mask & (stored.generation != np.uint64(generation))
        orders = order_cells(generation, micros, 0).to_pylist()
        pipe.multi()
        for i in np.flatnonzero(mask):
            pipe.hset(rows[i].key, mapping=_fields(view, rows[i], orders[i]))
        pipe.incrby(keys.pushes, int(mask.sum()))
        pipe.incrby(keys.count, int(fresh.sum()))
        pipe.execute()


def _fields(view: View, row: PushedRow, order: bytes) -> dict[Any, Any]:
    stamp = Timestamp()
    stamp.FromMicroseconds(row.micros)
    values = {feature_field(view.name, name): value for name, value in row.values.items()}
    return {**values, view.timestamp_field: stamp.SerializeToString(), view.order_field: order}
