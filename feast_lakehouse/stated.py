"""What the Feast registry says is online of a view."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from feast import FeatureView
from feast.infra.registry.base_registry import BaseRegistry

from feast_lakehouse.materialize import MaterializationReport

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def state_online(
    registry: BaseRegistry, project: str, feature_view: FeatureView, report: MaterializationReport
) -> None:
    """Feast's materialization intervals become one: from the first to the newest event time that is online."""
    known = registry.get_feature_view(feature_view.name, project)
    stated = known.materialization_intervals
    if report.newest is None or (not report.changed and stated):
        return
    first, newest = (EPOCH + timedelta(microseconds=m) for m in (report.first or report.newest, report.newest))
    if len(stated) == 1 and stated[0] == (first, newest) and known.state.name == "AVAILABLE_ONLINE":
        return
    # Feast only ever appends an interval. Its file registries edit this cached message and commit it whole.
    for proto in getattr(getattr(registry, "cached_registry_proto", None), "feature_views", ()):
        if proto.spec.name == feature_view.name and proto.spec.project == project:
            del proto.meta.materialization_intervals[:]
    registry.apply_materialization(feature_view, project, first, newest)
