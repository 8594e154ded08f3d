"""The `compute` step: an order's Spark application, wherever the connection says that Spark runs."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from feast_lakehouse.errors import DataError
from feature_pipelines.spark_link import SparkApplicationLink, application_page
from feature_pipelines.spark_settings import SPARK_CONNECTION, of_connection, refused
from spark_jobs.refused import EXIT_REFUSED
from spark_jobs.submit import APPLICATION, package_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.sdk import Context, XComArg

    from feature_pipelines.spark_hook import OrderSubmitHook

BROKEN_DATA = 3
"""Exit code of the application when the audit found broken promises."""


class ComputeOrder(SparkSubmitOperator):
    """Submits `spark_jobs/compute.py` with the URI of an order and returns the URI of the order it computed.

    The first attempt computes `order`. A later one writes an order of its own: its output is a folder that no attempt
    before it, perhaps still running somewhere, writes into, and its inputs are those of now. When by then nothing is
    stale it is skipped. Raises DataError with every broken promise when the audit refuses the rows, and when storage
    refuses the application.

    The connection says where Spark runs: `local[2]`, or `spark://host:7077` with extra `ui`, the address of the master's
    pages, and extra `conf`, settings of spark-submit.
    """

    operator_extra_links = (SparkApplicationLink(),)

    def __init__(self, *, table: str, order: XComArg | str, **kwargs: Any) -> None:
        super().__init__(
            application=str(APPLICATION),
            application_args=[order],
            conn_id=SPARK_CONNECTION,
            name=f"my_feast.{table}",
            **kwargs,
        )
        self.table = table
        self.application_page = ""
        self._master = ""
        self._variables: Mapping[str, str] = {}
        self._on_application: Callable[[str], None] = lambda _: None

    def execute(self, context: Context) -> str:  # type: ignore[override]  # the provider's returns nothing; ours is the XCom
        """Submits and waits."""
        order_uri = self._order(context)
        with tempfile.TemporaryDirectory(prefix="my-feast-") as scratch:
            self._settle(Path(scratch), order_uri, context)
            try:
                super().execute(context)
            except AirflowException as error:
                code = self._submit_hook().exit_code
                if code == BROKEN_DATA:
                    raise _refusal(order_uri) from error
                if code == EXIT_REFUSED:
                    raise refused(self.table, "storage refuses the application, see the log above.") from error
                raise
        return order_uri

    def on_kill(self) -> None:
        """Ends spark-submit, which is the driver: the master then takes the executors from the application."""
        if self._hook is not None:
            super().on_kill()

    def _order(self, context: Context) -> str:
        from feature_pipelines.tasks import new_order

        if context["ti"].try_number == 1:
            return str((self.application_args or [])[0])
        fresh = new_order(self.table, context)
        if fresh is None:
            raise AirflowSkipException(f"{self.table}: every day is current by now")
        self.log.info("Attempt %s computes an order of its own: %s", context["ti"].try_number, fresh)
        return fresh

    def _settle(self, scratch: Path, order_uri: str, context: Context) -> None:
        """What depends on where Spark runs, known only with the connection."""
        from feature_pipelines import environment
        from feature_pipelines.connections import connection

        told = connection(SPARK_CONNECTION)
        self._master, settings = of_connection(environment.load(), self.table, told)
        self.conf = dict(settings.conf)
        # Secrets may be among them, and env_vars, like every templated field, is shown in the UI.
        self._variables = settings.variables
        self.application_args = [order_uri]
        self.py_files = str(package_zip(scratch / "spark_jobs.zip"))
        self._on_application = partial(self._link, context, told.text("ui"))
        # Made anew from the settings above by the base class, which keeps it so that on_kill finds its process.
        self._hook = None

    def _link(self, context: Context, ui: str | None, application_id: str) -> None:
        self.application_page = application_page(self._master, ui, application_id)
        if self.application_page:
            self.log.info("Its page on the master: %s", self.application_page)
            context["ti"].xcom_push(key=SparkApplicationLink().xcom_key, value=self.application_page)

    def _get_hook(self) -> OrderSubmitHook:
        from feature_pipelines.spark_hook import OrderSubmitHook

        return OrderSubmitHook(
            variables=self._variables,
            on_application=self._on_application,
            conf=self.conf,
            conn_id=self._conn_id,
            py_files=self.py_files,
            name=self.name,
            application_args=self.application_args,
        )

    def _submit_hook(self) -> OrderSubmitHook:
        if self._hook is None:
            self._hook = self._get_hook()
        return cast("OrderSubmitHook", self._hook)


def _refusal(order_uri: str) -> DataError:
    """The application's report as an error: every broken promise. Without one it had refused what it was told to compute."""
    from feature_pipelines import environment
    from feature_pipelines.orders import read_order
    from feature_pipelines.publishing import find_report

    env = environment.load()
    order = read_order(env, order_uri)
    report = find_report(env.features(order.table), order)
    if report is not None and report.broken:
        return DataError(report.verdict())
    return DataError(
        f"{order.table}: the application refused the table's definition or the order {order_uri}, see its last words in "
        f"the log above. Nothing was staged or published."
    )
