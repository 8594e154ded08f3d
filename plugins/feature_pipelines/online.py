"""What the online store says of a view, asked once per view."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feast import FeatureStore

    from feast_lakehouse.engine import OnlineState
    from feast_lakehouse.footprint import Footprint


def online_state(store: FeatureStore, view: str) -> OnlineState:
    """Version held, keys and newest event time of a view, as Redis records them. Raises TransportError without Redis."""
    from feast_lakehouse import engine
    from feast_lakehouse.wire import reachable

    with reachable(f"asking what is online of {view}"):
        return engine.online_state(store, view)


def online_footprint(store: FeatureStore, view: str) -> Footprint:
    """What the keys of a view take of Redis, by a sample. Raises TransportError without Redis."""
    from feast_lakehouse import footprint

    return footprint.online_footprint(store, view)
