"""The `compute` step: an order's Spark application, wherever the connection says that Spark runs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from feast_lakehouse.errors import DataError
from feature_pipelines.policy import SPARK_CONNECTION
from spark_jobs.submit import APPLICATION, package_zip, quick_conf

if TYPE_CHECKING:
    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
    from airflow.sdk import Context, XComArg

BROKEN_DATA = 3
"""Exit code of the application when the audit found broken promises."""


class ComputeOrder(SparkSubmitOperator):
    """Submits `spark_jobs/compute.py` with the URI of an order and returns the URI of the order it computed.

    The first attempt computes `order`. A later one writes an order of its own: its output is a folder that no attempt
    before it, perhaps still running somewhere, writes into, and its inputs are those of now. When by then nothing is
    stale it is skipped. Raises DataError with every broken promise when the audit refuses the rows.
    """

    def __init__(self, *, table: str, order: XComArg | str, **kwargs: Any) -> None:
        super().__init__(
            application=str(APPLICATION),
            application_args=[order],
            conn_id=SPARK_CONNECTION,
            name=f"my_feast.{table}",
            **kwargs,
        )
        self.table = table

    def execute(self, context: Context) -> str:  # type: ignore[override]  # the provider's returns nothing; ours is the XCom
        """Submits and waits."""
        order_uri = self._order(context)
        with tempfile.TemporaryDirectory(prefix="my-feast-") as scratch:
            self._settle(Path(scratch), order_uri)
            try:
                super().execute(context)
            except AirflowException as error:
                if self._exit_code() == BROKEN_DATA:
                    raise _refusal(order_uri) from error
                raise
        return order_uri

    def _order(self, context: Context) -> str:
        from feature_pipelines.tasks import new_order

        if context["ti"].try_number == 1:
            return str((self.application_args or [])[0])
        fresh = new_order(self.table, context)
        if fresh is None:
            raise AirflowSkipException(f"{self.table}: every day is current by now")
        self.log.info("Attempt %s computes an order of its own: %s", context["ti"].try_number, fresh)
        return fresh

    def _settle(self, scratch: Path, order_uri: str) -> None:
        """Settings that depend on where Spark runs, known only with the connection. No credential goes this way."""
        self.application_args = [order_uri]
        self.py_files = str(package_zip(scratch / "spark_jobs.zip"))
        if self._submit_hook()._connection["master"].startswith("local"):  # noqa: SLF001 - the hook has no public name for it
            self.conf = quick_conf()
            self.env_vars = {"PYSPARK_PYTHON": sys.executable}
        # Made again from the settings above, and kept by the base class so that on_kill finds its process.
        self._hook = None

    def _submit_hook(self) -> SparkSubmitHook:
        if self._hook is None:
            self._hook = self._get_hook()
        return self._hook

    def _exit_code(self) -> int | None:
        process = self._submit_hook()._submit_sp  # noqa: SLF001 - the hook tells the code only inside its error's text
        return None if process is None else int(process.returncode)


def _refusal(order_uri: str) -> DataError:
    """The application's report as an error: every broken promise, where the staged rows are."""
    from feature_pipelines import environment
    from feature_pipelines.orders import read_order
    from feature_pipelines.publishing import read_report

    env = environment.load()
    order = read_order(env, order_uri)
    try:
        read_report(env.features(order.table), order)
    except DataError as refusal:
        return refusal
    return DataError(
        f"{order.table}: the application ended with {BROKEN_DATA}, broken data, but its report names no promise"
    )
