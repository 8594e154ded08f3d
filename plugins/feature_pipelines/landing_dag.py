"""The DAG of a source: its raw table gets one interval per UTC day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG

from feature_pipelines import tasks
from feature_pipelines.dag_frame import daily, day_params, first_day, flag_param, last_day, raw_asset, step
from feature_pipelines.dag_pages import source_page
from feature_pipelines.policy import PLATFORM, RUN_TIMEOUT, default_args

if TYPE_CHECKING:
    from feature_pipelines.sources import Source


def landing_dag(source: Source) -> DAG:
    """`land_<source>`: one task, one run per day, or several days in one run by params."""
    contract = source.contract
    with DAG(
        f"land_{source.name}",
        description=f"Land {source.name} in the {contract.lake} lake",
        doc_md=source_page(contract),
        schedule=daily(),
        start_date=first_day([source.name]),
        end_date=last_day([source.name]),
        catchup=False,
        max_active_runs=2,
        dagrun_timeout=RUN_TIMEOUT,
        is_paused_upon_creation=False,
        default_args=default_args(PLATFORM),
        params={
            **day_params(),
            "allow_shrink": flag_param("Allow shrinking", "Accept days with fewer rows than they have now."),
        },
        tags=["landing", contract.lake],
    ) as dag:
        step(tasks.land, outlets=[raw_asset(contract)])(source.name)
    return dag
