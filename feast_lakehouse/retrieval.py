"""What Feast hands its caller: a query over pinned table versions that runs when the rows are asked for."""
# ruff: noqa: ARG002, FBT001, FBT002 - the signatures are Feast's

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feast_lakehouse.errors import DataError


class LakehouseRetrievalMetadata(RetrievalMetadata):
    """Feast's metadata and `table_versions`: the Delta version each view (or source) is read at."""

    def __init__(
        self,
        *,
        features: list[str],
        keys: list[str],
        table_versions: Mapping[str, int],
        min_event_timestamp: datetime | None = None,
        max_event_timestamp: datetime | None = None,
    ) -> None:
        super().__init__(features, keys, min_event_timestamp, max_event_timestamp)
        self.table_versions = dict(table_versions)


class LakehouseRetrievalJob(RetrievalJob):
    """Runs on `to_df`, `to_arrow` and the like; on-demand transformations are applied there by Feast.

    The table versions were fixed when the job was made, so running it twice gives the same rows.
    """

    def __init__(
        self,
        execute: Callable[[float | None], pa.Table],
        *,
        sql: str,
        metadata: LakehouseRetrievalMetadata,
        on_demand: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
    ) -> None:
        super().__init__()
        self._execute, self._sql, self._metadata = execute, sql, metadata
        self._on_demand, self._full_feature_names = on_demand or [], full_feature_names

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._execute(timeout)

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._execute(timeout).to_pandas()
        return frame

    def to_sql(self) -> str:
        """The DuckDB statement, over tables of this process (see point_in_time)."""
        return self._sql

    @property
    def full_feature_names(self) -> bool:
        """Whether feature columns are named view__feature."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The on-demand views to apply."""
        return self._on_demand

    @property
    def metadata(self) -> LakehouseRetrievalMetadata:
        """What is retrieved and from which table versions."""
        return self._metadata

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Refused: raises DataError. The lakes are written by publishes alone."""
        raise DataError(
            f"Saved datasets ({type(storage).__name__}) cannot be written by the lakehouse offline store, which only reads. "
            "Call to_arrow() and keep the table where you want it; its schema metadata names the table versions."
        )
