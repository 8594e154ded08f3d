"""The button of a `compute` task that leads to its application's page on the Spark master."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

DEFAULT_UI_PORT = 8080


class SparkApplicationLink(BaseOperatorLink):
    """Executors, their logs and the Spark UI of the running application; the page stays when it has ended."""

    name = "Spark application"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Asked by the worker when the task has ended; empty when no application started on a cluster."""
        return str(getattr(operator, "application_page", ""))


def application_page(master: str, ui: str | None, application_id: str) -> str:
    """The page on the master; `ui` is the master's address as a browser sees it. Empty for Spark on one machine."""
    if not master.startswith("spark://"):
        return ""
    host = master.removeprefix("spark://").split(",")[0].rpartition(":")[0]
    address = (ui or f"http://{host}:{DEFAULT_UI_PORT}").rstrip("/")
    return f"{address}/app/?appId={application_id}"
