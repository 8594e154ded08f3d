"""Publishing: what an order's Spark application staged becomes one commit of the feature table, or nothing does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feast_lakehouse.errors import DataError
from feature_pipelines.builds import Missing, expected_builds
from feature_pipelines.orders import STAGING, read_order
from spark_jobs.features import feature_tables
from spark_jobs.report import Report, ReportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feast_lakehouse.delta import TableRef
    from feast_lakehouse.publish import Published
    from feature_pipelines.environment import Environment
    from spark_jobs.order import Order

REPORT = "report.json"


def publish_order(env: Environment, order_uri: str, *, force: bool = False) -> Published:
    """Commits the order's intervals; the same order again = no commit, unless `force` publishes them anew.

    Raises DataError when the application did not finish, its audit failed, or its report is not the order's;
    StaleInputs when the raw data or the definition moved since the order was written.
    """
    from feast_lakehouse.publish import publish
    from feature_pipelines.schemas import feature_schema

    order = read_order(env, order_uri)
    ref = env.features(order.table)
    report = read_report(ref, order)
    days = [each.interval for each in order.intervals]

    def current_builds() -> Mapping[str, str]:
        return {day: _told(build) for day, build in expected_builds(env, order.table, days).items()}

    return publish(
        ref,
        report.staged,
        order.builds,
        schema=feature_schema(feature_tables()[order.table]),
        rows=report.rows,
        current_builds=current_builds,
        force=force,
    )


def read_report(ref: TableRef, order: Order) -> Report:
    """The report the application wrote last. Raises DataError when it is absent, tells broken promises or is not the order's."""
    report, where = find_report(ref, order), _where(ref, order)
    if report is None:
        raise DataError(f"{where}: expected a report; the application has not finished. Compute the order again.")
    if report.broken:
        raise DataError(report.verdict())
    builds = {day: result.build for day, result in report.intervals.items()}
    if (report.order_id, report.table, builds) != (order.order_id, order.table, order.builds):
        raise DataError(
            f"{where}: expected the report of order {order.order_id}, found one of {report.order_id}: {report.table}"
        )
    return report


def find_report(ref: TableRef, order: Order) -> Report | None:
    """The report whatever it tells; None when there is none yet. Raises DataError when it is no report."""
    text = _folder_text(ref, f"{STAGING}/{order.order_id}/{REPORT}")
    try:
        return Report.from_json(text) if text else None
    except ReportError as error:
        raise DataError(f"{_where(ref, order)}: {error}. Compute under a new order.") from error


def _where(ref: TableRef, order: Order) -> str:
    return f"{ref.uri}/{STAGING}/{order.order_id}/{REPORT}"


def _folder_text(ref: TableRef, folder: str) -> str:
    """The text of a folder that Spark wrote; empty when it is not there."""
    from feast_lakehouse import writing

    parts = [path for path in writing.file_names(ref, folder) if path.rpartition("/")[2].startswith("part-")]
    return "".join(writing.read_text(ref, path) or "" for path in parts)


def _told(build: str | Missing) -> str:
    return f"{', '.join(build.sources)} not landed" if isinstance(build, Missing) else build
