"""The `compute` step on Databricks: an order's one run, submitted or a job's, waited for without a worker."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.databricks.exceptions import DatabricksApiError
from airflow.providers.databricks.operators.databricks import (
    XCOM_RUN_ID_KEY,
    XCOM_RUN_PAGE_URL_KEY,
    DatabricksSubmitRunOperator,
)
from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason

from feast_lakehouse.errors import DataError
from feature_pipelines import environment
from feature_pipelines.databricks_hook import patient_hook
from feature_pipelines.databricks_order import Work
from feature_pipelines.databricks_run import OrderRun
from feature_pipelines.databricks_verdict import has_ended, is_lost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.databricks.hooks.databricks import DatabricksHook
    from airflow.sdk import Context, XComArg

CONNECTION = "databricks_default"
ATTEMPTS = 6
"""Of one call, within about half a minute; then Airflow's own retry has its turn."""


class ComputeOnDatabricks(DatabricksSubmitRunOperator):
    """Submits the order as a one-time run of the wheel, or runs the environment's job; returns the order's URI.

    The idempotency token is a function of the order, so whoever asks again, after a lost answer, with another worker or
    in another DAG run, gets the run the order has. A run that had ended badly before goes on under its own number
    (repair). Raises DataError when a retry cannot help and TransportError when it can; both name run and page.
    """

    template_fields: Sequence[str] = (*DatabricksSubmitRunOperator.template_fields, "order")

    def __init__(self, *, table: str, order: XComArg | str, deferrable: bool = True, **kwargs: Any) -> None:
        kwargs = {"databricks_conn_id": CONNECTION, "databricks_retry_limit": ATTEMPTS, **kwargs}
        super().__init__(deferrable=deferrable, **kwargs)
        self.table = table
        self.order = order

    def execute(self, context: Context) -> str:
        """Asks for the order's run and follows it to its end."""
        mine = self._order_run()
        with mine.told():
            if not self.deferrable:
                self.execute_resumable(context)
                return mine.work.uri
            self.submit_job(context)
            run = mine.state()
            if not has_ended(run):
                self._announce(context)
                self._wait_in_triggerer()
            self._announce(context)
            return mine.settle(run)

    def submit_job(self, context: Context) -> int:
        """The order's run: a new one or the one it has."""
        mine = self._order_run()
        if mine.work.settings.job:
            self.run_id = self._run_job()
        else:
            self.json = mine.work.submit_request()
            self.run_id = int(super().submit_job(context))
        mine.adopt(self.run_id)
        return self.run_id

    def get_job_status(self, external_id: Any, context: Context) -> str:
        """Of the run an earlier try left; a lost one has none, and the next step asks for the order's run again."""
        try:
            return str(super().get_job_status(external_id, context))
        except DatabricksApiError as error:
            if not is_lost(error):
                raise
            return "NOT_FOUND:"

    def poll_until_complete(self, external_id: Any, context: Context) -> None:
        """Follows the run from this worker."""
        mine = self._order_run(external_id)
        self._announce(context)
        mine.settle(mine.follow())

    def get_job_result(self, external_id: Any, context: Context) -> None:
        """Looks once more at a run that had succeeded before this try."""
        mine = self._order_run(external_id)
        self._announce(context)
        mine.settle(mine.state())

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str:  # noqa: ARG002 - the provider names it
        """After the trigger has seen the run end."""
        mine = self._order_run(event["run_id"])
        with mine.told():
            return mine.settle(mine.state())

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Airflow's own, except that a trigger that gave up fails no task before this worker has looked at the run."""
        if next_method != TRIGGER_FAIL_REPR:
            return super().resume_execution(next_method, next_kwargs, context)
        why = (next_kwargs or {}).get("error", "Unknown")
        mine = self._order_run()
        with mine.told():
            self.run_id = mine.run_id
            run = mine.state()
            if not has_ended(run):
                if why == TriggerFailureReason.TRIGGER_TIMEOUT:
                    mine.cancel_if_waiting(run)
                    self._wait_in_triggerer()
                self.log.warning("%s: the triggerer gave up (%s), this worker follows it", mine.subject, why)
                run = mine.follow()
            return mine.settle(run)

    def on_kill(self) -> None:
        """Cancels the run."""
        if self.run_id is not None:
            self._order_run().cancel()
            self.log.info("%s: cancelled, because its task was ended", self._order_run().subject)

    def _get_hook(self, caller: str) -> DatabricksHook:
        attempts, delay = self.databricks_retry_limit, self.databricks_retry_delay
        return patient_hook(self.databricks_conn_id, attempts=attempts, delay=delay, caller=caller)

    def _order_run(self, run_id: Any = None) -> OrderRun:
        if "_mine" not in self.__dict__:
            work = Work.load(environment.load(), str(self.order))
            self._mine = OrderRun(work, lambda: self._get_hook(type(self).__name__))
        if run_id is not None:
            self.run_id = int(run_id)
        return self._mine

    def _run_job(self) -> int:
        mine = self._order_run()
        request = mine.work.job_request()
        if name := request.pop("job_name", None):
            request["job_id"] = self._hook.find_job_id_by_name(name)
            if request["job_id"] is None:
                raise DataError(f"{mine.subject}: there is no job {name!r}. Deploy the bundle, or correct compute.")
        return int(self._hook.run_now(request))

    def _announce(self, context: Context) -> None:
        """The run's number and page, for the extra link and whoever reads the log."""
        mine = self._order_run()
        self.log.info("%s", mine.subject)
        context["ti"].xcom_push(key=XCOM_RUN_ID_KEY, value=mine.run_id)
        context["ti"].xcom_push(key=XCOM_RUN_PAGE_URL_KEY, value=mine.page)

    def _wait_in_triggerer(self) -> None:
        mine = self._order_run()
        trigger = DatabricksExecutionTrigger(
            mine.run_id,
            self.databricks_conn_id,
            mine.work.settings.poll_seconds,  # type: ignore[arg-type]  # a part of a second will do as well
            retry_limit=self.databricks_retry_limit,
            retry_delay=self.databricks_retry_delay,
            run_page_url=mine.page,
        )
        patience = timedelta(minutes=mine.work.settings.start_minutes)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=patience)
