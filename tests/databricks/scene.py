"""What Airflow does with the task `compute`, step by step: tries, deferral, the trigger, the retry policy."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.sdk.exceptions import TaskDeferred

from feature_pipelines import databricks_order, environment
from feature_pipelines.databricks import ComputeOnDatabricks
from feature_pipelines.environment import Environment
from feature_pipelines.landing import land
from feature_pipelines.orders import read_order
from feature_pipelines.policy import SPARK_RETRIES, retry_policy
from spark_jobs.interval import Interval
from tests.databricks.faults import Ending
from tests.databricks.workspace import Workspace
from tests.feature_pipelines.staging import stage, weather_row

TABLE = "airport_weather_hourly"
DAYS = ("2013-01-01", "2013-01-02")

CLUSTER: dict[str, Any] = {
    "kind": "databricks",
    "new_cluster": {"spark_version": "17.3.x-scala2.13", "node_type_id": "Standard_D4ds_v5", "num_workers": 2},
    "poll_seconds": 0.01,
}

CONFIG: dict[str, Any] = {
    "project": "my_feast",
    "provider": "local",
    "offline_store": {
        "type": "feast_lakehouse.offline_store.LakehouseOfflineStore",
        "lakes": {name: f"file://${{MY_FEAST_HOME}}/lakes/{name}" for name in ("on_prem", "cloud")},
    },
}


def write_environment(checkout: Path, compute: Mapping[str, Any]) -> None:
    """The environment `test`: the embedded one's lakes, and this as `compute.cloud`."""
    file = checkout / "feature_repo" / "environments" / "test" / "feature_store.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({**CONFIG, "compute": {"cloud": dict(compute)}}))


def land_weather(home: Path) -> None:
    """Both days, packaged data."""
    file = home.parent / "checkout"
    write_environment(file, CLUSTER)
    env = Environment("test", home, file, {"MY_FEAST_HOME": str(home)})
    land(env, "weather", Interval.parse("2013-01-01T00:00:00+00:00", "2013-01-03T00:00:00+00:00"))


class Store(dict[str, Any]):
    """Airflow's task_state_store, which outlives a try."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


@dataclass
class Outcome:
    """What became of the task: the order's URI or the last error, after so many tries; every error by the way."""

    result: str | None
    errors: list[BaseException]
    tries: int
    deferred: int
    gave_up: list[str]
    """What made the triggerer give up, each time."""

    @property
    def error(self) -> BaseException:
        """The one that ended it."""
        assert self.result is None, self.result
        return self.errors[-1]


@dataclass
class Scene:
    """One DAG run's task `compute` on a workspace."""

    workspace: Workspace
    folder: Path
    run_id: str = "scheduled__2013-01-01"
    force: bool = False
    store: Store = field(default_factory=Store)
    pushed: dict[str, Any] = field(default_factory=dict)
    deferred: int = 0
    gave_up: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.workspace.work = self._work

    @property
    def env(self) -> Environment:
        return environment.load()

    def compute(self, **settings: Any) -> None:
        """Other settings for `compute.cloud`."""
        chosen = {name for name in ("job", "existing_cluster", "serverless") if name in settings}
        base = {name: value for name, value in CLUSTER.items() if not (chosen and name == "new_cluster")}
        write_environment(self.folder / "checkout", {**base, **settings})

    def context(self, try_number: int = 1) -> dict[str, Any]:
        """As a task sees it."""
        ti = SimpleNamespace(
            run_id=self.run_id,
            task_id="compute",
            try_number=try_number,
            stats_tags={},
            xcom_push=lambda key, value: self.pushed.update({key: value}),
        )
        params = {"start": DAYS[0], "end": "2013-01-03", "force": self.force}
        return {"run_id": self.run_id, "params": params, "ti": ti, "task_state_store": self.store}

    def order(self) -> str:
        """The step before."""
        return databricks_order.order(TABLE, **self.context())

    def operator(self, order: str, *, deferrable: bool) -> ComputeOnDatabricks:
        """A fresh one, as every try and every resumption has it."""
        return ComputeOnDatabricks(
            task_id="compute",
            table=TABLE,
            order=order,
            deferrable=deferrable,
            databricks_retry_limit=2,
            databricks_retry_delay=0.05,  # type: ignore[arg-type]
            params={"force": self.force},
        )

    def run(self, *, deferrable: bool, order: str | None = None) -> Outcome:
        """The task's tries, as the retry policy grants them."""
        order, errors, self.deferred, self.gave_up = order or self.order(), [], 0, []
        for number in range(1, SPARK_RETRIES + 2):
            try:
                return self._outcome(self._try(order, number, deferrable=deferrable), errors, number)
            except Exception as error:  # noqa: BLE001 - whatever a task raises
                errors.append(error)
                if retry_policy().evaluate(error, number, SPARK_RETRIES).action.value == "fail":
                    break
        return self._outcome(None, errors, number)

    def _outcome(self, result: str | None, errors: list[BaseException], tries: int) -> Outcome:
        return Outcome(result, errors, tries, self.deferred, self.gave_up)

    def _try(self, order: str, number: int, *, deferrable: bool) -> str:
        context = self.context(number)
        method, arguments = "execute", {}
        while True:
            operator = self.operator(order, deferrable=deferrable)
            try:
                if method == "execute":
                    return operator.execute(context)
                return str(operator.resume_execution(method, arguments, context))
            except TaskDeferred as deferral:
                self.deferred += 1
                method, arguments = triggered(deferral)
                if method == TRIGGER_FAIL_REPR:
                    self.gave_up.append(str(arguments))

    def _work(self, order_uri: str, ending: Ending) -> None:
        """What the application would leave, without Spark."""
        if ending.works == "nothing":
            return
        order = read_order(self.env, order_uri)
        broken = ("temp: maximum 130, found 400.0 in 1 row (2013-01-01)",) if ending.works == "breaks" else ()
        stage(order, {day: [weather_row(f"{day}T10:00")] for day in order.builds}, broken=broken)


def triggered(deferral: TaskDeferred) -> tuple[str, dict[str, Any]]:
    """What the triggerer and the scheduler make of a deferral: the method to resume with, and its arguments."""
    from airflow.sdk.serde import deserialize, serialize

    path, arguments = deferral.trigger.serialize()
    trigger = type(deferral.trigger)(**deserialize(serialize(arguments)))
    assert path.endswith(type(trigger).__name__)
    assert deferral.timeout is not None

    async def first_event() -> Any:
        async with aclosing(trigger.run()) as events:
            return await anext(events)

    async def in_time(seconds: float) -> Any:
        try:
            return await asyncio.wait_for(first_event(), seconds)
        finally:
            await asyncio.sleep(0.05)  # TLS connections need a moment to close; a triggerer's loop goes on for ever

    try:
        event = asyncio.run(in_time(deferral.timeout.total_seconds()))
    except TimeoutError:
        return TRIGGER_FAIL_REPR, {"error": TriggerFailureReason.TRIGGER_TIMEOUT}
    except Exception as error:  # noqa: BLE001 - the triggerer survives every trigger
        told = traceback.format_exception(error)
        return TRIGGER_FAIL_REPR, {"error": TriggerFailureReason.TRIGGER_FAILURE, "traceback": told}
    return deferral.method_name, {"event": event.payload}
