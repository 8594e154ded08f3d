"""Feast's offline store over both lakes: point-in-time training sets from Delta tables through DuckDB, no JVM."""
# ruff: noqa: ARG004, FBT001, FBT002, PLR0913, PLR0917 - the signatures are Feast's

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import Field

from feast_lakehouse.duck import Limits
from feast_lakehouse.errors import DataError
from feast_lakehouse.lakes import Lakes
from feast_lakehouse.pull import Pull
from feast_lakehouse.retrieval import LakehouseRetrievalJob
from feast_lakehouse.schemas import PARTITION_COLUMNS, data_columns
from feast_lakehouse.sources import Sources, delta_table, micros
from feast_lakehouse.training import Request, training_job


class LakehouseOfflineStoreConfig(FeastConfigBaseModel):
    """`lakes` maps a lake's name to its root URI, `storage_options` to the deltalake options that reach it (secrets).

    `credentials` names a function `module.function` that is given a lake's name and returns such options, when the
    lake is first used: secrets then need not stand in the yaml.
    `memory_limit` and `threads` bound a query; beyond the limit DuckDB spills to a temporary folder. The result itself, and
    the entity rows, come on top. None leaves DuckDB's own choice: most of the machine's memory, and every core.
    """

    type: Literal["feast_lakehouse.offline_store.LakehouseOfflineStore"] = (
        "feast_lakehouse.offline_store.LakehouseOfflineStore"
    )
    lakes: dict[str, str] = Field(default_factory=dict)
    storage_options: dict[str, dict[str, str]] | None = Field(default=None, repr=False)
    credentials: str | None = None
    memory_limit: str | None = "2GB"
    threads: int | None = None


class LakehouseOfflineStore(OfflineStore):
    """Reads FileSources with DeltaFormat: `lake://<lake>/<path>` of the configured lakes, or plain URIs and paths.

    Table versions are fixed when a job is made and stated in its metadata (`table_versions`), in the result's Arrow
    schema metadata and in the log. Everything is compared in UTC microseconds.
    """

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> LakehouseRetrievalJob:
        """To each entity row the newest feature values in [time - ttl, time]; ttl zero or None is no limit.

        Rows out = rows in, in their order, duplicates and rows without any match (nulls) included. Raises DataError
        for anything but a DataFrame of entity rows, TableMissing for a view nothing was published for yet.
        """
        wanted = Request(feature_views, feature_refs, full_feature_names=full_feature_names)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return training_job(_sources(config), wanted, entity_df, on_demand=on_demand, limits=_limits(config))

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> LakehouseRetrievalJob:
        """The newest row of each key with start_date <= time <= end_date (UTC when naive)."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        source = _sources(config).open(data_source)
        pull = Pull(source, columns, micros(start_date), micros(end_date), _limits(config))
        return pull.job(newest_of=join_key_columns)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> LakehouseRetrievalJob:
        """Every row with start_date <= time <= end_date (UTC when naive; None: no bound)."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        since, until = (micros(date) if date else None for date in (start_date, end_date))
        return Pull(_sources(config).open(data_source), columns, since, until, _limits(config)).job()

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Refused: raises DataError. Rows enter the lakes by landing and publishing, which are audited and fenced."""
        raise DataError(
            f"{feature_view.name}: {table.num_rows} rows were pushed to the offline store, which only reads. Land them as "
            "a source and let the pipeline publish what follows from them, or push with to=PushMode.ONLINE."
        )

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Refused: raises DataError."""
        raise DataError("Served features cannot be logged to the lakehouse offline store, which only reads.")

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """Raises DataError for an unknown lake, another format, or a table without the timestamp column.

        A table that nothing was published to yet is fine: definitions may be applied first.
        """
        sources = _sources(config)
        if delta_table(sources.lakes, data_source, sources.repo_path).exists():
            sources.open(data_source).scan({}, times={"t": data_source.timestamp_field}, since=None, until=None)

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Names and Arrow types of the table's columns now, without this project's two partition columns."""
        schema = _sources(config).open(data_source).state.schema
        ours = set(PARTITION_COLUMNS) <= set(schema.names)
        return [(column.name, str(column.type)) for column in (data_columns(schema) if ours else schema)]


def _sources(config: RepoConfig) -> Sources:
    return Sources(Lakes.from_config(_config(config)), Path(config.repo_path) if config.repo_path else None)


def _config(config: RepoConfig) -> LakehouseOfflineStoreConfig:
    offline = config.offline_store
    if not isinstance(offline, LakehouseOfflineStoreConfig):
        raise DataError(f"Expected offline_store of type LakehouseOfflineStore, found {type(offline).__name__}.")
    return offline


def _limits(config: RepoConfig) -> Limits:
    offline = _config(config)
    return Limits(offline.memory_limit, offline.threads)


def _columns(keys: list[str], features: list[str], timestamp: str, created: str | None) -> list[str]:
    return list(dict.fromkeys([*keys, *features, timestamp, *([created] if created else [])]))
