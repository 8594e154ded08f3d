"""The status of every table: what is on the lake, what is online, and how new the newest data is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from feature_pipelines.online import online_footprint, online_state
from feature_pipelines.sources import sources
from spark_jobs.features import feature_tables

if TYPE_CHECKING:
    from feast import FeatureStore

    from feast_lakehouse.delta import TableRef, TableState
    from feature_pipelines.environment import Environment


@dataclass(frozen=True)
class SourceStatus:
    """A raw table: landed intervals, live rows, quarantined rows, version (None: nothing landed), newest interval."""

    name: str
    intervals: int
    rows: int
    rejected: int
    version: int | None
    newest: str | None


@dataclass(frozen=True)
class TableStatus:
    """A feature table: published intervals and rows, versions on the lake and online, keys online and what one of them
    takes of Redis in bytes (with all views of its entity), newest event time.

    Versions are None while there is nothing; online fields are None too when no store was asked.
    """

    name: str
    intervals: int
    rows: int
    version: int | None
    online_version: int | None
    online_keys: int | None
    bytes_per_key: int | None
    freshness: datetime | None


def source_status(env: Environment) -> list[SourceStatus]:
    """One entry per source, sorted by name; reads the tables' logs only."""
    return [_source(env, name) for name in sources()]


def status(env: Environment, store: FeatureStore | None = None) -> list[TableStatus]:
    """One entry per feature table, sorted by name. Without a `store` Redis is not asked."""
    return [_table(env, name, store) for name in feature_tables()]


def _source(env: Environment, name: str) -> SourceStatus:
    state, rejected = _state(env.raw(name)), _state(env.rejected(name))
    days = state.live_builds() if state else {}
    version = state.version if state else None
    return SourceStatus(name, len(days), _rows(state), _rows(rejected), version, max(days, default=None))


def _table(env: Environment, name: str, store: FeatureStore | None) -> TableStatus:
    ref = env.features(name)
    state = _state(ref)
    online = online_state(store, name) if store else None
    bytes_per_key = online_footprint(store, name).bytes_per_key if store else None
    intervals = len(state.live_builds()) if state else 0
    version = state.version if state else None
    return TableStatus(
        name,
        intervals,
        _rows(state),
        version,
        online_version=online.version if online else None,
        online_keys=online.keys if online else None,
        bytes_per_key=None if bytes_per_key is None else round(bytes_per_key),
        freshness=_freshness(ref, state),
    )


def _state(ref: TableRef) -> TableState | None:
    return ref.state() if ref.exists() else None


def _rows(state: TableState | None) -> int:
    return sum(entry.rows or 0 for entry in state.files.values()) if state else 0


def _freshness(ref: TableRef, state: TableState | None) -> datetime | None:
    """The newest event time; only the newest interval with rows is read, as event times lie inside their interval."""
    import pyarrow.compute as pc

    filled = [entry for entry in state.files.values() if entry.rows != 0] if state else []
    newest = max((str(entry.partition["interval_start"]) for entry in filled), default=None)
    if state is None or newest is None:
        return None
    paths = [entry.path for entry in filled if entry.partition["interval_start"] == newest]
    try:
        times = ref.dataset(paths, state.version).to_table(columns=["event_timestamp"])["event_timestamp"]
    except OSError as error:
        raise ref.failed("its newest interval cannot be read", error) from None
    found: datetime | None = pc.max(times).as_py()
    return found
