"""How much of Redis a view's keys take, by MEMORY USAGE of a bounded sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from feast import FeatureStore
from redis import Redis

from feast_lakehouse.engine import engine_of
from feast_lakehouse.keys import key_project
from feast_lakehouse.record import RecordKeys
from feast_lakehouse.sweep import SCAN_COUNT, key_pattern
from feast_lakehouse.view import View
from feast_lakehouse.wire import reachable

SAMPLE = 100
ROUNDS = 200
"""SCAN looks at no more than about ROUNDS * SCAN_COUNT keys of the database, whoever they belong to."""


@dataclass(frozen=True)
class Footprint:
    """Mean bytes of the `sampled` keys that hold rows of the view, and how many such keys there are.

    A key is one entity: all its views share it, so its bytes count the rows of every one of them, the key's name and
    what Redis itself needs. None where no key of the view was met.
    """

    keys: int
    sampled: int
    bytes_per_key: float | None


def online_footprint(store: FeatureStore, view: str, *, sample: int = SAMPLE) -> Footprint:
    """Ask Redis what the keys of a view take. Raises TransportError."""
    client, described, _ = engine_of(store).parts(store.get_feature_view(view))
    with reachable(f"asking what the keys of {view} take"):
        return footprint(client, described, sample=sample)


def footprint(client: Redis, view: View, *, sample: int = SAMPLE) -> Footprint:
    """As online_footprint, without a store."""
    count: Any = client.get(RecordKeys.of(view).count)
    sizes: dict[bytes, int] = {}
    cursor, rounds = 0, 0
    while len(sizes) < sample and rounds < ROUNDS and (cursor or not rounds):
        found: Any = client.scan(cursor, key_pattern(view), SCAN_COUNT)
        cursor, rounds = found[0], rounds + 1
        sizes |= _sizes(client, view, found[1])
    met = list(sizes.values())[:sample]
    return Footprint(int(count or 0), len(met), sum(met) / len(met) if met else None)


def _sizes(client: Redis, view: View, keys: list[bytes]) -> dict[bytes, int]:
    ours = [key for key in keys if key_project(key) == view.project.encode()]
    pipe: Any
    with client.pipeline(transaction=False) as pipe:
        for key in ours:
            pipe.hexists(key, view.order_field)
            pipe.memory_usage(key, samples=0)
        answers = pipe.execute()
    held = zip(ours, answers[::2], answers[1::2], strict=True)
    return {key: size for key, has_view, size in held if has_view and size}
