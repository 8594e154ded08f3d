"""A materialization as Feast keeps it: a job that has ended by the time it is handed over."""

from __future__ import annotations

from dataclasses import dataclass

from feast.infra.common.materialization_job import MaterializationJob, MaterializationJobStatus, MaterializationTask

from feast_lakehouse.materialize import MaterializationReport


@dataclass
class LakehouseJob(MaterializationJob):
    """A finished materialization: a report, or the error that ended it."""

    task: MaterializationTask
    report: MaterializationReport | None = None
    failure: BaseException | None = None

    def status(self) -> MaterializationJobStatus:
        """SUCCEEDED or ERROR."""
        return MaterializationJobStatus.ERROR if self.failure else MaterializationJobStatus.SUCCEEDED

    def error(self) -> BaseException | None:
        """The error, if there was one."""
        return self.failure

    def should_be_retried(self) -> bool:
        """Never: the caller's own retries decide, by the error's class."""
        return False

    def job_id(self) -> str:
        """View and table version."""
        return f"{self.task.feature_view.name}@{self.report.version if self.report else 'failed'}"

    def url(self) -> str | None:
        """There is no page."""
        return None
