"""The DAG of the feature registry: plan, then apply, one run at a time."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from feature_pipelines import registering
from feature_pipelines.dag_frame import step
from feature_pipelines.policy import PLATFORM, RUN_TIMEOUT, default_args

PAGE = """Brings the Feast registry to what `feature_repo/definitions.py` says: run it after a deployment. `plan` logs the \
changes, `apply` makes them. It reads no lake and writes no online value; applying twice changes nothing."""


def registry_dag() -> DAG:
    """`feature_registry`: started by hand or by a deployment, never by the clock or an asset."""
    with DAG(
        "feature_registry",
        description="Apply the feature definitions to the registry",
        doc_md=PAGE,
        schedule=None,
        start_date=datetime(2013, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=RUN_TIMEOUT,
        is_paused_upon_creation=False,
        default_args=default_args(PLATFORM),
        tags=["registry"],
    ) as dag:
        plan = step(registering.plan)()
        apply = step(registering.apply)()
        plan >> apply
    return dag
