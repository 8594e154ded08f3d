"""The Feast engine: `batch_engine: {type: feast_lakehouse.engine.LakehouseEngine}` makes `feast materialize` exact and fast.

Start and end of a materialization are only noted: what is written is the difference between the table's newest version
and the versions Redis holds, so late data, corrections and holes arrive whatever interval was asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureStore, FeatureView, OnDemandFeatureView, RepoConfig
from feast.infra.common.materialization_job import MaterializationTask
from feast.infra.compute_engines.base import ComputeEngine
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from redis import Redis
from typing_extensions import override

from feast_lakehouse import record
from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, OnlineMismatch, Unfinished
from feast_lakehouse.job import LakehouseJob
from feast_lakehouse.lakes import Lakes
from feast_lakehouse.materialize import MaterializationReport, Run, materialize_view
from feast_lakehouse.newest import Memory
from feast_lakehouse.online_store import LakehouseRedisOnlineStore
from feast_lakehouse.pace import Pace
from feast_lakehouse.progress import Progress
from feast_lakehouse.record import RecordKeys
from feast_lakehouse.sources import delta_table
from feast_lakehouse.stated import EPOCH, state_online
from feast_lakehouse.verify import VerifyReport, verify_view
from feast_lakehouse.view import View, collisions, view_of
from feast_lakehouse.wire import reachable

logger = logging.getLogger(__name__)


class LakehouseEngineConfig(FeastConfigBaseModel):
    """Rows per atomic chunk (0: as many as suit), cap in rows/s (0: none), whether online readers come first, DuckDB's memory
    and where it may spill.
    """

    type: Literal["feast_lakehouse.engine.LakehouseEngine"] = "feast_lakehouse.engine.LakehouseEngine"
    chunk_rows: int = 0
    rows_per_second: int = 0
    readers_first: bool = True
    memory_limit: str = "192MB"
    spill_folder: str = ""


class LakehouseEngine(ComputeEngine):
    """Materializes Feast views over Delta tables into Redis by table version."""

    def __init__(self, *, repo_config: RepoConfig, offline_store: Any, online_store: Any, **settings: Any) -> None:
        super().__init__(repo_config=repo_config, offline_store=offline_store, online_store=online_store)
        self._settings = LakehouseEngineConfig(**settings)

    @property
    def supports_batch(self) -> bool:
        """Feast hands over all views at once."""
        return True

    @property
    def applies_materialization(self) -> bool:
        """The engine tells the registry itself what is online."""
        return True

    @override
    def update(
        self,
        project: str,
        views_to_delete: Sequence[FeatureView],
        views_to_keep: Sequence[FeatureView | OnDemandFeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
    ) -> None:
        """Refuse at apply what could not be kept exactly: types, and features whose Redis fields collide."""
        views = [
            view_of(self.repo_config, view) for view in views_to_keep if isinstance(view, FeatureView) and view.online
        ]
        if broken := collisions(views):
            raise DataError("Nothing was applied:\n  " + "\n  ".join(broken))

    @override
    def teardown_infra(self, project: str, fvs: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """The online store takes its own data down; the engine keeps nothing else."""

    @override
    def _materialize_one(self, registry: BaseRegistry, task: MaterializationTask, **_: Any) -> LakehouseJob:
        try:
            return LakehouseJob(task, report=self.run(registry, task.feature_view))
        except Exception as error:  # noqa: BLE001 — Feast asks for the error of a job, and raises it itself
            return LakehouseJob(task, failure=error)

    def run(
        self,
        registry: BaseRegistry,
        feature_view: FeatureView,
        *,
        rebuild: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> MaterializationReport:
        """Materialize one view and tell the registry what is online. Raises DataError or TransportError."""
        client, view, table = self.parts(feature_view)
        with Progress(view.name) as shown:
            run = replace(self.settings(), progress=progress or shown)
            report = materialize_view(client, view, table, run=run, rebuild=rebuild)
        logger.info(
            "%s: version %d online, %d keys written, %d retracted, %d already newer, %.2f s%s%s",
            *(report.view, report.version, report.keys_written, report.retracted, report.kept, report.seconds),
            f" ({report.rested:.2f} s of it making way for readers)" if report.rested else "",
            f"; rebuilt because {report.reason}"
            if report.reason
            else ""
            if report.changed
            else "; nothing had changed",
        )
        if report.early:
            logger.warning(
                "%s: %d keys lost a row that the view's ttl would still have served. Where old partitions were dropped: "
                "keep them for at least the ttl, or shorten the ttl.",
                *(report.view, report.early),
            )
        state_online(registry, self.repo_config.project, feature_view, report)
        return report

    def parts(self, feature_view: FeatureView) -> tuple[Redis, View, TableRef]:
        """The Redis client, the view and the table a feature view stands for."""
        if not isinstance(self.online_store, LakehouseRedisOnlineStore):
            name = "feast_lakehouse.online_store.LakehouseRedisOnlineStore"
            raise DataError(f"online_store.type: expected {name}, found {type(self.online_store).__name__}.")
        config, source = self.repo_config, feature_view.batch_source
        view = view_of(config, feature_view)
        if source is None:
            raise DataError(f"{view.name}: expected a batch source, found none.")
        lakes = Lakes.from_config(config.offline_store) if hasattr(config.offline_store, "lakes") else Lakes({})
        table = delta_table(lakes, source, Path(config.repo_path) if config.repo_path else None)
        return self.online_store.redis(config), view, table

    def settings(self) -> Run:
        """How runs are carried out, from the yaml."""
        settings = self._settings
        return Run(
            Pace(settings.chunk_rows, settings.rows_per_second, settings.readers_first),
            Memory(settings.memory_limit, settings.spill_folder),
        )


def engine_of(store: FeatureStore) -> LakehouseEngine:
    """The engine of a store. Raises DataError when the yaml names another."""
    engine = getattr(store._get_provider(), "batch_engine", None)  # noqa: SLF001 — Feast's own way in from a store
    if not isinstance(engine, LakehouseEngine):
        raise DataError(
            f"batch_engine.type: expected feast_lakehouse.engine.LakehouseEngine, found {type(engine).__name__}."
        )
    return engine


def materialize(
    store: FeatureStore, view: str, *, rebuild: str = "", progress: Callable[[int, int], None] | None = None
) -> MaterializationReport:
    """Materialize one view. `rebuild`: a reason to write every key again; `progress` gets keys settled, most there can be."""
    return engine_of(store).run(store.registry, store.get_feature_view(view), rebuild=rebuild, progress=progress)


def verify(store: FeatureStore, view: str, *, sample: int | None = 200, repair: bool = False) -> VerifyReport:
    """Compare Redis with the table: `sample` keys, None for all of them, and then all rows in Redis are counted too.

    `repair`: rebuild once where they differ (finish what an earlier run began), and compare again. Raises OnlineMismatch.
    """
    client, described, table = engine_of(store).parts(store.get_feature_view(view))
    try:
        return verify_view(client, described, table, sample=sample)
    except OnlineMismatch as mismatch:
        if not repair:
            raise
        logger.warning("%s; repairing.", mismatch)
        materialize(store, view, rebuild="" if isinstance(mismatch, Unfinished) else str(mismatch))
        return verify_view(client, described, table, sample=sample)


@dataclass(frozen=True)
class OnlineState:
    """What Redis says of a view: table version held (None: none), keys, newest event time in UTC."""

    version: int | None
    keys: int
    newest: datetime | None


def online_state(store: FeatureStore, view: str) -> OnlineState:
    """Ask Redis what it holds of a view."""
    client, described, _ = engine_of(store).parts(store.get_feature_view(view))
    with reachable(f"asking what is online of {view}"):
        held = record.read(client, described).record
        count: Any = client.get(RecordKeys.of(described).count)
    if held is None:
        return OnlineState(None, 0, None)
    newest = None if held.newest is None else EPOCH + timedelta(microseconds=held.newest)
    return OnlineState(held.held, int(count or 0), newest)


def online_version(store: FeatureStore, view: str) -> int | None:
    """The table version Redis holds wholly."""
    return online_state(store, view).version


def online_keys(store: FeatureStore, view: str) -> int:
    """How many keys of the view Redis holds."""
    return online_state(store, view).keys
