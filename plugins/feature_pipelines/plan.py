"""The plan: every interval that is not what it should be, and why; reads logs and one Redis record per view, no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feast_lakehouse.errors import VersionUnavailable
from feature_pipelines.builds import DEFINITION_DIGITS, Missing, RawInputs, read_inputs
from feature_pipelines.online import online_state
from spark_jobs.features import feature_tables
from spark_jobs.interval import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feast import FeatureStore

    from feast_lakehouse.delta import FileEntry, TableState
    from feature_pipelines.environment import Environment

MISSING = "missing"
SOURCE_CHANGED = "source changed"
DEFINITION_CHANGED = "definition changed"
NOT_LANDED = "source not landed"
NOT_MATERIALIZED = "not materialized"


@dataclass(frozen=True)
class StaleInterval:
    """An interval of a feature table that needs work.

    `rows` and `bytes` are what the work has to read: raw input (lookback included) for a computation, the interval's
    own published files for a materialization. `why` is one of this module's five constants.
    """

    table: str
    partition: str
    why: str
    rows: int
    bytes: int


def plan(env: Environment, store: FeatureStore | None = None) -> list[StaleInterval]:
    """Every stale interval of every table, sorted by table and day. Without a `store` Redis is not asked."""
    return [stale for table in feature_tables() for stale in plan_table(env, table, store)]


def plan_table(env: Environment, table: str, store: FeatureStore | None = None) -> list[StaleInterval]:
    """The stale intervals of one table: first those to compute, then those published but not yet online."""
    ref = env.features(table)
    state = ref.state() if ref.exists() else None
    uncomputed = list(_uncomputed(read_inputs(env, table), state.live_builds() if state else {}))
    return [*uncomputed, *(_unmaterialized(env, table, state, store) if state and store else ())]


def _uncomputed(inputs: RawInputs, live: dict[str, str]) -> Iterator[StaleInterval]:
    landed = {partition for builds in inputs.builds.values() for partition in builds}
    for partition in sorted(landed | set(live)):
        day = Interval.day(partition)
        why = _why(live.get(partition), inputs.build(day))
        if why:
            entries = [entry for files in inputs.entries([day]).values() for entry in files]
            yield _stale(inputs.table.name, partition, why, entries)


def _why(live: str | None, expected: str | Missing) -> str | None:
    if isinstance(expected, Missing):
        return NOT_LANDED
    if live == expected:
        return None
    if live is None:
        return MISSING
    same_definition = live[:DEFINITION_DIGITS] == expected[:DEFINITION_DIGITS]
    return SOURCE_CHANGED if same_definition else DEFINITION_CHANGED


def _unmaterialized(env: Environment, table: str, state: TableState, store: FeatureStore) -> Iterator[StaleInterval]:
    """Intervals whose live files are not those of the version that the online store holds."""
    version = online_state(store, table).version
    if version == state.version:
        return
    try:
        held = set(env.features(table).state(version).files) if version is not None else set()
    except VersionUnavailable:
        held = set()
    waiting = [entry for path, entry in state.files.items() if path not in held]
    for partition in sorted({str(entry.partition["interval_start"]) for entry in waiting}):
        yield _stale(
            table, partition, NOT_MATERIALIZED, [e for e in waiting if e.partition["interval_start"] == partition]
        )


def _stale(table: str, partition: str, why: str, entries: list[FileEntry]) -> StaleInterval:
    return StaleInterval(table, partition, why, sum(e.rows or 0 for e in entries), sum(e.size for e in entries))
