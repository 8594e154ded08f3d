"""Feast stores over the benchmarks' tables: in our configuration, and as Feast comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

VIEW = "v"
PROJECT = "bench"
BATCH = 1000
"""Rows of one write of stock Feast where it is told to batch (`materialization.online_write_batch_size`)."""
OURS_ONLINE = "feast_lakehouse.online_store.LakehouseRedisOnlineStore"
SPARK_CONF = {
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


@dataclass(frozen=True)
class Kind:
    """How a store is configured: what the yaml says beside the project, the registry and Redis's address."""

    online: str
    offline: dict[str, Any]
    engine: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)


_SPARK = {"type": "spark", "spark_conf": SPARK_CONF}
KINDS = {
    "ours": Kind(
        OURS_ONLINE,
        {"type": "feast_lakehouse.offline_store.LakehouseOfflineStore"},
        {"type": "feast_lakehouse.engine.LakehouseEngine"},
    ),
    "stock": Kind("redis", {"type": "duckdb"}, {"type": "local"}),
    "stock batched": Kind(
        "redis", {"type": "duckdb"}, {"type": "local"}, {"materialization": {"online_write_batch_size": BATCH}}
    ),
    "stock spark": Kind("redis", _SPARK, {"type": "spark.engine", "spark_conf": SPARK_CONF}),
    "dask": Kind("redis", {"type": "dask"}, {"type": "local"}),
}


def feast_store(repo: Path, kind: str, *, redis: str, table: Path, features: int, ttl: timedelta) -> Any:
    """A Feast store with one view `v` over the table, applied. `repo` is a folder of the caller's own."""
    from feast import Entity, FeatureStore, FeatureView, Field, ValueType
    from feast.types import Float64, String

    repo.mkdir(parents=True, exist_ok=True)
    entity = Entity(name="id", join_keys=["id"], value_type=ValueType.STRING)
    schema = [Field(name="id", dtype=String), *(Field(name=f"f{n}", dtype=Float64) for n in range(features))]
    store = FeatureStore(repo_path=str(repo), fs_yaml_file=_written(repo, KINDS[kind], redis))
    view = FeatureView(name=VIEW, entities=[entity], schema=schema, source=_source(kind, table), ttl=ttl)
    store.apply([entity, view])
    return store


def _written(repo: Path, kind: Kind, redis: str) -> Path:
    path = repo / "feature_store.yaml"
    settings = {
        "project": PROJECT,
        "provider": "local",
        "entity_key_serialization_version": 3,
        "registry": {"path": str(repo / "registry.db"), "serve_features_while_materializing": True},
        "online_store": {"type": kind.online, "connection_string": redis},
        "offline_store": kind.offline,
        "batch_engine": kind.engine,
        **kind.more,
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def _source(kind: str, table: Path) -> Any:
    """The Delta table for ours, the Parquet file with the same rows for the others."""
    from feast import FileSource
    from feast.data_format import DeltaFormat

    if kind == "ours":
        return FileSource(name="source", path=str(table), timestamp_field="ts", file_format=DeltaFormat())
    parquet = str(table.with_suffix(".parquet"))
    if kind != "stock spark":
        return FileSource(name="source", path=parquet, timestamp_field="ts")
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    return SparkSource(name="source", path=parquet, file_format="parquet", timestamp_field="ts")


def feature_refs(features: int) -> list[str]:
    """Every feature of the view, as Feast is asked for them."""
    return [f"{VIEW}:f{n}" for n in range(features)]
