"""An order as it is computed on Databricks: written so that the same work is the same order, then sent and looked after."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from feast_lakehouse.errors import DataError
from feature_pipelines.databricks_compute import DatabricksCompute
from feature_pipelines.databricks_lake import RunNote, read_note, ship_wheel, write_note
from feature_pipelines.databricks_payload import job_payload, submit_payload
from feature_pipelines.window import is_forced, resolve_window

if TYPE_CHECKING:
    from feature_pipelines.environment import Environment
    from spark_jobs.order import Order

log = logging.getLogger(__name__)


def order(table: str, **context: Any) -> str:
    """Writes the order for the window's stale days and returns its URI; is skipped when every day is current.

    The order depends on the days, the sources and the definition, not on the run or the attempt: whoever needs the same
    work gets the same order and, on Databricks, the same run. Only a run with `force` gets an order of its own.
    """
    from feature_pipelines import environment
    from feature_pipelines.orders import write_order

    window, force = resolve_window(context), is_forced(context)
    attempt = f"forced by {context['ti'].run_id}" if force else ""
    uri = write_order(environment.load(), table, window, attempt=attempt, force=force)
    if uri is None:
        raise AirflowSkipException(f"{table} {window}: every day is current, nothing to compute")
    log.info("Ordered %s %s: %s", table, window, uri)
    return uri


@dataclass(frozen=True)
class Work:
    """An order with the environment it belongs to and how that computes."""

    env: Environment
    uri: str
    order: Order
    lake: str
    settings: DatabricksCompute

    @classmethod
    def load(cls, env: Environment, uri: str) -> Work:
        """The order at its URI. Raises DataError when there is none, EnvironmentBroken when the settings are wrong."""
        from feature_pipelines.orders import read_order
        from spark_jobs.features import feature_tables

        order = read_order(env, uri)
        lake = feature_tables()[order.table].lake
        return cls(env, uri, order, lake, DatabricksCompute.parse(env.compute(lake)))

    def job_request(self) -> dict[str, Any]:
        """The body of run-now."""
        return job_payload(self.settings, self.uri)

    def submit_request(self) -> dict[str, Any]:
        """The body of runs/submit; the wheel is on the lake then."""
        wheel = ship_wheel(self.env, self.lake, self.settings.wheels)
        return submit_payload(self.settings, self.order, self.uri, lake=self.lake, wheel=wheel)

    def note(self) -> RunNote | None:
        """The run that the order was given before."""
        return read_note(self.env.features(self.order.table), self.order)

    def remember(self, note: RunNote) -> None:
        """Keeps the run beside the order."""
        write_note(self.env.features(self.order.table), self.order, note)

    def refuse_broken(self, subject: object) -> None:
        """Raises DataError with every broken promise when the order's report tells of any."""
        from feature_pipelines.publishing import find_report

        report = find_report(self.env.features(self.order.table), self.order)
        if report is not None and report.broken:
            raise DataError(f"{subject}: broken data\n{report.verdict()}")

    def require_report(self, subject: object) -> None:
        """Raises DataError when a run has succeeded without a sound report: it has done something else."""
        from feature_pipelines.publishing import read_report

        try:
            read_report(self.env.features(self.order.table), self.order)
        except DataError as error:
            raise DataError(
                f"{subject}: succeeded, but staged nothing sound. Is it a job of another kind?\n{error}"
            ) from error
