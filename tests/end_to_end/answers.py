"""What the lakes and the online store answer, beside what the oracle says they must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from feast import FeatureStore

from feast_lakehouse import engine
from feature_pipelines.environment import Environment
from spark_jobs.features import feature_tables
from tests import oracle


def published_differences(env: Environment, table: str, days: list[str], *, landed: list[str]) -> list[str]:
    """Every row in which the published table and the oracle differ, as texts; empty when they are the same."""
    return table_differences(env, table, oracle.rows(table, days, landed=landed))


def table_differences(env: Environment, table: str, wanted: list[dict[str, Any]]) -> list[str]:
    """Every row in which the published table and the wanted rows differ."""
    ref = env.features(table)
    state = ref.state()
    rows = ref.dataset(list(state.files), state.version).to_table().to_pylist()
    keys = oracle.KEYS[table]
    expected = {_row_key(row, keys): row for row in wanted}
    found = {_row_key(row, keys): row for row in rows}
    doubled = [f"{len(rows) - len(found)} rows share a key and event time"] if len(rows) != len(found) else []
    return doubled + _differences(table, expected, found)


def online_differences(env: Environment, table: str, days: list[str], *, landed: list[str], folder: Path) -> list[str]:
    """Every key in which stock Feast's online read and the oracle differ, as texts, and keys that are too many."""
    return store_differences(env, table, oracle.online(table, days, landed=landed), stock_store(env, folder))


def store_differences(
    env: Environment, table: str, expected: dict[tuple[str, ...], dict[str, Any]], stock: FeatureStore
) -> list[str]:
    """Every key in which stock Feast's online read and the expected newest rows differ, and keys that are too many."""
    found = _read_online(stock, table, list(expected))
    count = engine.online_keys(env.feature_store(), table)
    extra = [] if count == len(expected) else [f"{count} keys online, expected {len(expected)}"]
    return extra + _differences(table, expected, found)


def stock_store(env: Environment, folder: Path, *, login: str = "") -> FeatureStore:
    """Feast as it comes, with its own Redis store, on our registry and our Redis; `login` as `,username=…,password=…`."""
    config = {name: part for name, part in env.config.items() if name not in {"batch_engine", "offline_store"}}
    config["online_store"] = {"type": "redis", "connection_string": config["online_store"]["connection_string"] + login}
    file = folder / "stock.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return FeatureStore(fs_yaml_file=file)


def _read_online(store: FeatureStore, table: str, keys: list[tuple[str, ...]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    names = [feature.name for feature in feature_tables()[table].features]
    entities = [dict(zip(oracle.KEYS[table], key, strict=True)) for key in keys]
    response = store.get_online_features(features=[f"{table}:{name}" for name in names], entity_rows=entities)
    answer = response.to_dict()
    return {key: {name: answer[name][row] for name in names} for row, key in enumerate(keys)}


def _row_key(row: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return (row["event_timestamp"], *(row[key] for key in keys))


def _differences(table: str, expected: dict[Any, dict[str, Any]], found: dict[Any, dict[str, Any]]) -> list[str]:
    names = [feature.name for feature in feature_tables()[table].features]
    missing = [f"{table} {key}: missing" for key in expected.keys() - found.keys()]
    extra = [f"{table} {key}: not in the oracle" for key in found.keys() - expected.keys()]
    wrong = [
        f"{table} {key}: {name} is {found[key][name]!r}, expected {expected[key][name]!r}"
        for key in expected.keys() & found.keys()
        for name in names
        if not oracle.same(expected[key][name], found[key][name])
    ]
    return missing + extra + wrong
