"""Every row of a view that Redis holds, counted by walking the keys: what no counter beside the record can prove."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from redis import Redis

from feast_lakehouse.cells import Ints
from feast_lakehouse.newest_wins import Stored
from feast_lakehouse.readers import NAME
from feast_lakehouse.sweep import SCAN_COUNT, keys_of
from feast_lakehouse.view import View


@dataclass(frozen=True)
class Census:
    """Keys with a row that a batch wrote in this generation, with a pushed row, and with what an earlier generation left."""

    batch: int
    pushed: int
    stale: int


def census(client: Redis, view: View, generation: int) -> Census:
    """Walk every key of the view's entity, a bounded number at a time. SCAN may meet a key twice; it counts once."""
    batch: list[Ints] = []
    pushed: list[Ints] = []
    stale: list[Ints] = []
    keys = keys_of(client, view)
    while chunk := list(islice(keys, SCAN_COUNT)):
        found = read_fields(client, chunk, [view.order_field, view.timestamp_field])
        stored = Stored.parse([order for order, _ in found], [stamp for _, stamp in found])
        hashes = np.fromiter(map(hash, chunk), np.int64, len(chunk))
        current = stored.generation == np.uint64(generation)
        written = stored.present & ~stored.push
        batch.append(hashes[written & current])
        pushed.append(hashes[stored.push])
        stale.append(hashes[written & ~current])
    return Census(*(_distinct(parts) for parts in (batch, pushed, stale)))


def _distinct(parts: list[Ints]) -> int:
    return len(np.unique(np.concatenate(parts))) if parts else 0


def read_fields(client: Redis, keys: list[bytes], fields: list[bytes]) -> list[list[bytes | None]]:
    """These fields of each key; runs beside it do not take the connection for a reader's."""
    pipe: Any
    with client.pipeline(transaction=False) as pipe:
        pipe.client_setname(NAME)
        for key in keys:
            pipe.hmget(key, fields)
        pipe.client_setname("")  # the next user of the connection may be a reader
        return list(pipe.execute()[1:-1])
