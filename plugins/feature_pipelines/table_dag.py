"""The DAG of a feature table: wait, order, compute, publish, materialize, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, TriggerRule

from feature_pipelines import tasks
from feature_pipelines.dag_frame import (
    daily,
    day_params,
    feature_asset,
    first_day,
    flag_param,
    last_day,
    online_asset,
    raw_asset,
    step,
)
from feature_pipelines.dag_pages import table_page
from feature_pipelines.placement import order_and_compute
from feature_pipelines.policy import RUN_TIMEOUT, default_args
from feature_pipelines.pools import view_pool
from feature_pipelines.waiting import WaitForRaw

if TYPE_CHECKING:
    from spark_jobs.contract import FeatureTable


def table_dag(table: FeatureTable) -> DAG:
    """A DAG named like the table. Runs may overlap: what a late one would spoil, publish and the online store refuse."""
    inputs = [each.raw.name for each in table.inputs]
    with DAG(
        table.name,
        description=table.description,
        doc_md=table_page(table),
        schedule=daily(),
        start_date=first_day(inputs),
        end_date=last_day(inputs),
        catchup=False,
        max_active_runs=4,
        dagrun_timeout=RUN_TIMEOUT,
        is_paused_upon_creation=False,
        default_args=default_args(table.owner),
        params={**day_params(), "force": flag_param("Force", "Compute days that are current, too.")},
        tags=["features", table.lake],
    ) as dag:
        _steps(table)
    return dag


def _steps(table: FeatureTable) -> None:
    """The tasks. A run with nothing to compute skips three of them and still materializes and verifies."""
    pool = view_pool(table.name)
    wait = WaitForRaw(
        task_id="wait",
        table=table.name,
        inlets=[raw_asset(each.raw) for each in table.inputs],
        doc_md="Until every source has landed the run's days.",
    )
    order, compute = order_and_compute(table)
    publish = step(tasks.publish, outlets=[feature_asset(table)])(compute.output)
    materialize = step(
        tasks.materialize,
        pool=pool,
        trigger_rule=TriggerRule.NONE_FAILED,
        inlets=[feature_asset(table)],
        outlets=[online_asset(table)],
    )(table.name)
    verify = step(tasks.verify, pool=pool)(table.name)
    wait >> order
    publish >> materialize >> verify
