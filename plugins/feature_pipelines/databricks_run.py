"""The one Databricks run of an order: found, revived, followed to its end and judged."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.databricks.exceptions import DatabricksApiError
from airflow.sdk.exceptions import AirflowException
from requests.exceptions import RequestException

from feast_lakehouse.errors import DataError
from feature_pipelines.databricks_lake import RunNote
from feature_pipelines.databricks_verdict import (
    Subject,
    ended_badly,
    has_ended,
    has_succeeded,
    is_ending,
    is_waiting,
    never_started,
    newest_attempts,
    refuses_login,
    unanswered,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.providers.databricks.hooks.databricks import DatabricksHook

    from feature_pipelines.databricks_order import Work

    Run = Mapping[str, Any]

log = logging.getLogger(__name__)


class OrderRun:
    """Knows its run from the note that an earlier execution left beside the order, or from `adopt`.

    `connect` makes a hook with a login of its own. Everything here may raise what `told` translates.
    """

    def __init__(self, work: Work, connect: Callable[[], DatabricksHook]) -> None:
        self.work = work
        self._connect = connect
        self._hook = connect()
        self.noted = work.note()
        self._known = self.noted
        self._looked = False

    @property
    def subject(self) -> Subject:
        """What messages are about."""
        workspace = f"https://{self._hook.host}"
        if self._known is None:
            return Subject(self.work.order.table, workspace=workspace)
        return Subject(self.work.order.table, self._known.run_id, self._known.page, workspace)

    @property
    def run_id(self) -> int:
        """Raises DataError when the order has no run yet."""
        if self._known is None:
            raise DataError(f"{self.subject}: expected a note of the run beside {self.work.uri}")
        return self._known.run_id

    @property
    def page(self) -> str:
        """Of the run, in the workspace."""
        return self._known.page if self._known else ""

    def adopt(self, run_id: int) -> None:
        """Takes the run that Databricks gave for the order. When the order had it before and it ended badly, it goes on.

        A run that is just being ended is waited for: what a cancel of an earlier try came to shows only then.
        """
        self._known = RunNote(run_id, "")
        run = self.state()
        self._known = RunNote(run_id, str(run["run_page_url"]))
        if self.noted is not None and self.noted.run_id == run_id:
            self._revive(run)
        else:
            self.work.remember(self._known)

    def state(self) -> Run:
        """What Databricks says about the run. A login that it refuses is tried once more, from the beginning."""
        self._looked = True
        try:
            return self._hook.get_run(self.run_id)
        except DatabricksApiError as error:
            if not refuses_login(error):
                raise
            self._hook = self._connect()
            return self._hook.get_run(self.run_id)

    def follow(self) -> Run:
        """Waits for the end; a run whose cluster does not come in time is cancelled, which raises TransportError."""
        if not self._looked:  # Airflow has reconnected this try to the run of an earlier one
            self.adopt(self.run_id)
        settings, started = self.work.settings, time.monotonic()
        while not has_ended(run := self.state()):
            if time.monotonic() - started > settings.start_minutes * 60:
                self.cancel_if_waiting(run)
            time.sleep(settings.poll_seconds)
        return run

    def cancel_if_waiting(self, run: Run) -> None:
        """A run that has begun is left to its own timeout."""
        if is_waiting(run):
            self.cancel()
            self._until_ended()  # else the next try could take its end for a cancel by somebody else
            raise never_started(self.subject, run, self.work.settings.start_minutes)

    def cancel(self) -> None:
        """Asks Databricks to end the run, which it does later; one that has ended stays as it is."""
        self._hook.cancel_run(self.run_id)

    def settle(self, run: Run) -> str:
        """The order's URI for a run that did its work. Raises DataError or TransportError for any other."""
        if not has_succeeded(run):
            self.work.refuse_broken(self.subject)
            raise ended_badly(self.subject, run, self._errors(run))
        self.work.require_report(self.subject)
        log.info("%s: succeeded", self.subject)
        return self.work.uri

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turns what the hook raises into an error that names the run and says who has to act."""
        try:
            yield
        except (AirflowException, RequestException) as error:
            raise unanswered(self.subject, error) from error

    def _until_ended(self) -> Run:
        while not has_ended(run := self.state()):
            time.sleep(self.work.settings.poll_seconds)
        return run

    def _revive(self, run: Run) -> None:
        if is_ending(run):
            run = self._until_ended()
        if not has_ended(run) or has_succeeded(run):
            return
        self.work.refuse_broken(self.subject)
        log.warning("%s: had ended badly, goes on as a repair of the same run", self.subject)
        failed = {task["task_key"] for task in newest_attempts(run) if not has_succeeded(task)}
        request: dict[str, Any] = {"run_id": self.run_id, "rerun_tasks": sorted(failed)}
        if self.work.settings.job:  # a repair gets the job's defaults for what is not told again
            request["job_parameters"] = self.work.job_request()["job_parameters"]
        if latest := self._hook.get_latest_repair_id(self.run_id):
            request["latest_repair_id"] = latest
        try:
            self._hook.repair_run(request)
        except AirflowException:
            if has_ended(self.state()):  # else the repair was accepted and only its answer got lost
                raise

    def _errors(self, run: Run) -> Iterator[str]:
        for task in newest_attempts(run):
            if has_ended(task) and not has_succeeded(task):
                output = self._hook.get_run_output(task["run_id"])
                yield from (str(output[name]) for name in ("error", "error_trace") if output.get(name))
