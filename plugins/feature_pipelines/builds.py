"""Builds: the identity an interval of a feature table has, given the code and the raw data it would be computed from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_jobs.features import definition_hash, feature_tables

if TYPE_CHECKING:
    from feast_lakehouse.delta import FileEntry, TableState
    from feature_pipelines.environment import Environment
    from spark_jobs.contract import FeatureTable, RawTable
    from spark_jobs.interval import Interval

ABSENT = "absent"
DEFINITION_DIGITS = 4


@dataclass(frozen=True)
class Missing:
    """An interval that has no build: these sources have not landed it. A source without rows lands a zero-row file."""

    sources: tuple[str, ...]


@dataclass(frozen=True)
class RawInputs:
    """What a feature table can read now: per raw table, the live files of each partition and their build."""

    table: FeatureTable
    definition: str
    files: Mapping[str, Mapping[str, tuple[FileEntry, ...]]]
    builds: Mapping[str, Mapping[str, str]]

    def build(self, day: Interval) -> str | Missing:
        """16 hex digits over the definition and the builds of the day's input partitions, lookback included.

        The first four are the definition's, so that `plan` can tell a changed definition from a changed source.
        """
        absent = tuple(name for name, builds in sorted(self.builds.items()) if day.partition not in builds)
        if absent:
            return Missing(absent)
        inputs = [(raw.name, part, self.builds[raw.name].get(part, ABSENT)) for raw, part in self.partitions([day])]
        digest = hashlib.sha256(json.dumps([self.definition, inputs]).encode()).hexdigest()
        return self.definition[:DEFINITION_DIGITS] + digest[: 16 - DEFINITION_DIGITS]

    def partitions(self, days: Iterable[Interval]) -> list[tuple[RawTable, str]]:
        """The raw partitions that these days read, sorted, each once, landed or not."""
        read = {
            (each.raw.name, part.partition): each.raw
            for each in self.table.inputs
            for day in days
            for part in day.widen(each.lookback_days).days()
        }
        return [(raw, partition) for (_, partition), raw in sorted(read.items(), key=lambda item: item[0])]

    def entries(self, days: Iterable[Interval]) -> dict[str, list[FileEntry]]:
        """The live files that these days read, by raw table."""
        found: dict[str, list[FileEntry]] = {each.raw.name: [] for each in self.table.inputs}
        for raw, partition in self.partitions(days):
            found[raw.name].extend(self.files[raw.name].get(partition, ()))
        return found


def read_inputs(env: Environment, table_name: str) -> RawInputs:
    """One look at the raw tables' logs; everything derived from it is about the same versions."""
    table = feature_tables()[table_name]
    files: dict[str, dict[str, tuple[FileEntry, ...]]] = {}
    builds: dict[str, dict[str, str]] = {}
    for each in table.inputs:
        state = live_state(env, each.raw.name)
        files[each.raw.name] = _by_partition(state)
        builds[each.raw.name] = state.live_builds() if state else {}
    return RawInputs(table, definition_hash(table_name), files, builds)


def live_state(env: Environment, source: str) -> TableState | None:
    """The raw table's newest state; None while nothing has landed."""
    ref = env.raw(source)
    return ref.state() if ref.exists() else None


def expected_builds(env: Environment, table: str, days: Iterable[Interval]) -> dict[str, str | Missing]:
    """Partition -> the build that the day should have now, or what is missing for it."""
    inputs = read_inputs(env, table)
    return {day.partition: inputs.build(day) for day in days}


def _by_partition(state: TableState | None) -> dict[str, tuple[FileEntry, ...]]:
    grouped: dict[str, tuple[FileEntry, ...]] = {}
    for entry in state.files.values() if state else ():
        partition = str(entry.partition["interval_start"])
        grouped[partition] = (*grouped.get(partition, ()), entry)
    return grouped
