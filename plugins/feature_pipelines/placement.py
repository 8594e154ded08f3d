"""Where a table is computed: its lake says it, in one line of the environment's file; the table itself does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_pipelines import environment, tasks
from feature_pipelines.dag_frame import step
from feature_pipelines.environment import EnvironmentBroken
from feature_pipelines.policy import SPARK_RETRIES, SPARK_TIMEOUT
from feature_pipelines.pools import SPARK

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, XComArg

    from spark_jobs.contract import FeatureTable

KINDS = ("spark", "databricks")


def order_and_compute(table: FeatureTable) -> tuple[XComArg, BaseOperator]:
    """The steps `order` and `compute`, the one upstream of the other, inside the DAG that is being made.

    Reads the environment's file and resolves nothing in it. Raises EnvironmentBroken for a kind that is not in KINDS.
    """
    env = environment.load()
    kind = env.placement(table.lake)
    if kind not in KINDS:
        raise EnvironmentBroken(
            f"{env.yaml}: compute.{table.lake}.kind is {kind!r}, expected one of {', '.join(KINDS)}"
        )
    return _on_spark(table) if kind == "spark" else _on_databricks(table)


def _on_spark(table: FeatureTable) -> tuple[XComArg, BaseOperator]:
    from feature_pipelines.computing import ComputeOrder

    order = step(tasks.order)(table.name)
    compute = ComputeOrder(
        task_id="compute",
        table=table.name,
        order=order,
        pool=SPARK,
        retries=SPARK_RETRIES,
        execution_timeout=SPARK_TIMEOUT,
        doc_md="The order's Spark application: read, transform, audit, stage. Exit code 3 is broken data and is not retried.",
    )
    return order, compute


def _on_databricks(table: FeatureTable) -> tuple[XComArg, BaseOperator]:
    from feature_pipelines import databricks_order
    from feature_pipelines.databricks import ComputeOnDatabricks

    order = step(databricks_order.order)(table.name)
    compute = ComputeOnDatabricks(
        task_id="compute",
        table=table.name,
        order=order,
        retries=SPARK_RETRIES,
        execution_timeout=SPARK_TIMEOUT,
        doc_md="The order's one run on Databricks: read, transform, audit, stage. Asked again, it finds its run.",
    )
    return order, compute
