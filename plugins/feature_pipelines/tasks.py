"""The steps of the DAGs: each resolves its window, calls one function of the pipelines and returns a small report."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from feast_lakehouse.errors import DataError
from feature_pipelines.window import is_forced, resolve_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance
    from feast import FeatureStore

log = logging.getLogger(__name__)

Told = dict[str, str | int | float | bool | None]
"""A report as XCom keeps it."""


def land(source: str, **context: Any) -> Told:
    """Lands every UTC day of the window, each as its own commit; unfit rows go to quarantine with a reason.

    Of a stream the report also tells its lag: the records that it holds after the window's last day.
    """
    from feature_pipelines import environment
    from feature_pipelines.landing import land as land_window

    window = resolve_window(context)
    allow_shrink = bool(context["params"].get("allow_shrink"))
    days = land_window(environment.load(), source, window, allow_shrink=allow_shrink)
    report: Told = {
        "source": source,
        "days": len(days),
        "changed": sum(day.changed for day in days),
        "rows": sum(day.rows for day in days),
        "rejected": sum(day.rejected for day in days),
        "version": days[-1].version,
    }
    if days[-1].lag is not None:
        report |= {"lag": days[-1].lag, "lag_by_partition": days[-1].lag_by_partition}
    log.info("Landed %s %s: %s", source, window, _line(report))
    return report


def order(table: str, **context: Any) -> str:
    """Writes the order for the window's stale days and returns its URI; is skipped when every day is current."""
    uri = new_order(table, context)
    if uri is None:
        raise AirflowSkipException(f"{table} {resolve_window(context)}: every day is current, nothing to compute")
    log.info("Ordered %s %s: %s", table, resolve_window(context), uri)
    return uri


def new_order(table: str, context: Mapping[str, Any]) -> str | None:
    """An order that belongs to this attempt of this task alone; None when every day is current."""
    from feature_pipelines import environment
    from feature_pipelines.orders import write_order

    task = context["ti"]
    attempt = f"{task.run_id} {task.task_id} {task.try_number}"
    window, force = resolve_window(context), is_forced(context)
    return write_order(environment.load(), table, window, attempt=attempt, force=force)


def publish(order_uri: str, **context: Any) -> Told:
    """Commits the order's days in one version of the feature table, unless its inputs moved since it was written."""
    from feature_pipelines import environment
    from feature_pipelines.publishing import publish_order

    report = _told(publish_order(environment.load(), order_uri, force=is_forced(context)))
    log.info("Published %s: %s", order_uri, _line(report))
    return report


def materialize(table: str) -> Told:
    """Writes what changed since the version that the online store holds; nothing, when it holds the newest."""
    from feast_lakehouse import engine

    report = _told(engine.materialize(_store_with(table), table))
    log.info("Materialized %s: %s", table, _line(report))
    return report


def verify(table: str) -> Told:
    """Checks that the online store lost nothing and that a sample of keys holds what the feature table says.

    Where they differ the view is rebuilt once and compared again; only a second difference fails the task.
    """
    from feast_lakehouse import engine

    report = _told(engine.verify(_store_with(table), table, repair=True))
    log.info("Verified %s: %s", table, _line(report))
    return report


def _store_with(table: str) -> FeatureStore:
    """A Feast client whose registry has the view. Raises DataError when the view has not been applied."""
    from feast.errors import FeatureViewNotFoundException

    from feature_pipelines import environment

    store = environment.load().feature_store()
    try:
        store.get_feature_view(table)
    except FeatureViewNotFoundException:
        raise DataError(
            f"{table} is not in the feature registry: run the DAG feature_registry, then this task again"
        ) from None
    return store


def _told(report: DataclassInstance) -> Told:
    plain = (str, int, float, bool, type(None))
    values = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    return {name: value if isinstance(value, plain) else str(value) for name, value in values.items()}


def _line(report: Told) -> str:
    return ", ".join(f"{name} {value}" for name, value in report.items())
