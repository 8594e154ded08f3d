"""What is sent to Databricks for an order: the same order is the same request, whoever sends it and however often."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from spark_jobs.wheel import DISTRIBUTION, ENTRY_POINT, PARAMETER

if TYPE_CHECKING:
    from feature_pipelines.databricks_compute import DatabricksCompute
    from spark_jobs.order import Order

TASK_KEY = "compute"
ENVIRONMENT_KEY = "spark_jobs"


def idempotency_token(order_uri: str) -> str:
    """49 of the 64 characters Databricks takes. An order's URI holds its lake, table and id, and so all it consists of."""
    return f"my-feast-{hashlib.sha256(order_uri.encode()).hexdigest()[:40]}"


def run_name(order: Order) -> str:
    """Table, days and order, as people search for them in the list of runs."""
    days = list(order.builds)
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"my_feast.{order.table} {span} {order.order_id[:8]}"


def submit_payload(
    settings: DatabricksCompute, order: Order, order_uri: str, *, lake: str, wheel: str
) -> dict[str, Any]:
    """The body of runs/submit: one Python wheel task on a cluster of its own, an existing one or serverless compute."""
    task: dict[str, Any] = {
        "task_key": TASK_KEY,
        "python_wheel_task": {
            "package_name": DISTRIBUTION,
            "entry_point": ENTRY_POINT,
            # Named, because the operator would put the DAG run's params here if there were none.
            "named_parameters": {PARAMETER: order_uri},
        },
    }
    payload = {
        **settings.submit,
        "run_name": run_name(order),
        "idempotency_token": idempotency_token(order_uri),
        "timeout_seconds": round(settings.timeout_minutes * 60),
        "tasks": [task],
    }
    if settings.serverless:
        spec = {**settings.serverless, "dependencies": [*settings.serverless.get("dependencies", []), wheel]}
        payload["environments"] = [{"environment_key": ENVIRONMENT_KEY, "spec": spec}]
        task["environment_key"] = ENVIRONMENT_KEY
        return payload
    task["libraries"] = [{"whl": wheel}]
    if settings.existing_cluster:
        task["existing_cluster_id"] = settings.existing_cluster
    else:
        task["new_cluster"] = {**settings.new_cluster, "custom_tags": _tags(settings, order, lake)}
    return payload


def job_payload(settings: DatabricksCompute, order_uri: str) -> dict[str, Any]:
    """The body of run-now: the job's parameter `order` and the token; everything else is the job's own."""
    named = {"job_id": settings.job} if settings.job.isdecimal() else {"job_name": settings.job}
    return {**named, "job_parameters": {PARAMETER: order_uri}, "idempotency_token": idempotency_token(order_uri)}


def _tags(settings: DatabricksCompute, order: Order, lake: str) -> dict[str, str]:
    ours = {"project": "my_feast", "table": order.table, "lake": lake, "order": order.order_id}
    return {**settings.new_cluster.get("custom_tags", {}), **settings.tags, **ours}
