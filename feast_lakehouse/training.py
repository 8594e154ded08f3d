"""A Feast request for training data, as a point-in-time join over pinned table versions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.on_demand_feature_view import OnDemandFeatureView

from feast_lakehouse.duck import Limits
from feast_lakehouse.errors import DataError
from feast_lakehouse.point_in_time import Join, Wanted, entity_rows
from feast_lakehouse.retrieval import LakehouseRetrievalJob, LakehouseRetrievalMetadata
from feast_lakehouse.sources import Sources

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What Feast asks for: the views, the references "view:feature", and whether columns are named view__feature."""

    views: Sequence[FeatureView]
    refs: list[str]
    full_feature_names: bool


def training_job(
    sources: Sources,
    request: Request,
    entity_df: object,
    *,
    on_demand: list[OnDemandFeatureView],
    limits: Limits,
) -> LakehouseRetrievalJob:
    """The job for these entity rows, its table versions fixed now. Raises what LakehouseOfflineStore says."""
    if not isinstance(entity_df, pd.DataFrame):
        raise DataError(
            f"Expected entity rows as a pandas DataFrame, found {type(entity_df).__name__}. SQL entity rows and "
            "retrieval by dates alone are not supported: pass the entity rows you want features for."
        )
    time_column = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))
    entities = entity_rows(entity_df, time_column)
    wanted = [_wanted(sources, view, request) for view in request.views]
    _refuse_columns(entities.column_names, wanted)
    join = Join(entities, time_column, wanted, limits)
    logger.info("Training set of %d rows from table versions %s", entities.num_rows, join.versions())
    times = entities.column(time_column).to_pandas()
    metadata = LakehouseRetrievalMetadata(
        features=request.refs,
        keys=[name for name in entities.column_names if name != time_column],
        table_versions=join.versions(),
        min_event_timestamp=times.min().to_pydatetime() if times.notna().any() else None,
        max_event_timestamp=times.max().to_pydatetime() if times.notna().any() else None,
    )
    return LakehouseRetrievalJob(
        join.execute,
        sql=join.sql(),
        metadata=metadata,
        on_demand=on_demand,
        full_feature_names=request.full_feature_names,
    )


def _wanted(sources: Sources, view: FeatureView, request: Request) -> Wanted:
    if view.batch_source is None:
        raise DataError(f"{view.name}: the feature view has no batch source, so it has no history to read.")
    prefix: str = view.projection.name_to_use()  # type: ignore[no-untyped-call]  # Feast leaves it untyped
    shown = view.projection.name_alias or view.name
    features = [ref.removeprefix(f"{prefix}:") for ref in request.refs if ref.startswith(f"{prefix}:")]
    renamed = view.projection.join_key_map or {}
    keys = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    return Wanted(
        view=prefix,
        source=sources.open(view.batch_source),
        keys={key: renamed.get(key, key) for key in keys},
        features={f"{shown}__{name}" if request.full_feature_names else name: name for name in features},
        ttl=view.ttl,
    )


def _refuse_columns(columns: list[str], wanted: list[Wanted]) -> None:
    missing = {one.view: [key for key in one.keys.values() if key not in columns] for one in wanted}
    lacking = [f"{view} needs {keys}" for view, keys in missing.items() if keys]
    if lacking:
        raise DataError(f"Key columns missing from the entity rows: {'; '.join(lacking)}. They have {columns}.")
    twice = sorted({name for one in wanted for name in one.features if name in columns})
    if twice:
        raise DataError(
            f"Columns {twice} are both in the entity rows and features. Use full_feature_names=True or rename."
        )
