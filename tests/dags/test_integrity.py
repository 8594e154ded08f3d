"""What must hold for every DAG, read as Airflow reads it and without a database."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from feature_pipelines.pools import pools, view_pool
from feature_pipelines.sources import sources
from spark_jobs.features import feature_tables
from tests.dags.conftest import CHECKOUT

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG

STEPS = ["wait", "order", "compute", "publish", "materialize", "verify"]
LANDING = [f"land_{name}" for name in sources()]
TABLES = list(feature_tables())
ORDER_URI = "file:///lakes/on_prem/features/x/_orders/1.json"


def tables(bag: DagBag) -> list[DAG]:
    return [bag.dags[name] for name in TABLES]


def every_task(bag: DagBag) -> list[Any]:
    return [task for dag in bag.dags.values() for task in dag.tasks]


def test_every_file_loads_and_no_dag_is_missing(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == sorted([*LANDING, *TABLES, "feature_registry"])
    assert {str(file.file).removeprefix("/") for file in bag.dagbag_stats} == {
        path.name for path in (CHECKOUT / "dags").glob("*.py")
    }


def test_a_table_dag_is_one_chain(bag: DagBag) -> None:
    for dag in tables(bag):
        assert {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks} == {
            step: STEPS[n - 1 : n] if n else [] for n, step in enumerate(STEPS)
        }


def test_a_quiet_run_still_materializes_and_verifies(bag: DagBag) -> None:
    for dag in tables(bag):
        rules = {task.task_id: task.trigger_rule.value for task in dag.tasks}
        assert rules.pop("materialize") == "none_failed"
        assert set(rules.values()) == {"all_success"}


def test_daily_dags_have_intervals_and_can_be_backfilled(bag: DagBag) -> None:
    from airflow.sdk import CronDataIntervalTimetable

    for name in [*LANDING, *TABLES]:
        dag = bag.dags[name]
        assert isinstance(dag.timetable, CronDataIntervalTimetable)
        assert dag.start_date == datetime(2013, 1, 1, tzinfo=UTC)
        assert not dag.catchup
        assert dag.max_active_runs <= 4


def test_the_last_scheduled_day_is_the_last_day_on_which_something_can_become_known(bag: DagBag) -> None:
    last = {name: bag.dags[name].end_date.date().isoformat() for name in [*LANDING, *TABLES]}
    # Scheduled until the evening of 2013-12-31 in New York, which is 2014-01-01 in UTC; arrived within two days.
    assert last["land_flights"] == last["aircraft_daily"] == "2014-01-03"
    assert last["airport_weather_hourly"] == last["land_weather"] == "2013-12-30"


def test_the_registry_is_applied_by_hand_one_run_at_a_time_and_touches_no_asset(bag: DagBag) -> None:
    dag = bag.dags["feature_registry"]
    assert not dag.timetable.can_be_scheduled
    assert dag.max_active_runs == 1
    assert [task.task_id for task in dag.topological_sort()] == ["plan", "apply"]
    assert not any(task.inlets or task.outlets for task in dag.tasks)


def test_every_task_has_an_owner_retries_a_policy_and_a_time_limit(bag: DagBag) -> None:
    for task in every_task(bag):
        assert task.owner not in {"", "airflow"}, task
        assert task.retries in {2, 3}, task
        assert task.retry_policy is not None, task
        assert task.execution_timeout is not None, task
        assert task.doc_md, task
    for table in feature_tables().values():
        assert {task.owner for task in bag.dags[table.name].tasks} == {table.owner}


def test_every_dag_has_a_page_tags_and_an_end(bag: DagBag) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md
        assert dag.tags
        assert dag.dagrun_timeout is not None
    for table in feature_tables().values():
        page = bag.dags[table.name].doc_md
        assert all(
            f"`{column.name}`" in page and column.description in page for column in (*table.keys, *table.features)
        )


def test_pools_are_set_where_needed_and_every_one_can_be_imported(bag: DagBag) -> None:
    for dag in tables(bag):
        used = {task.task_id: task.pool for task in dag.tasks if task.pool != "default_pool"}
        view = view_pool(dag.dag_id)
        assert used == {"compute": "spark", "materialize": view, "verify": view}
        assert pools()[view]["slots"] == 1
    assert {task.pool for task in every_task(bag)} <= {"default_pool", *pools()}


def test_params_are_typed_for_the_trigger_form(bag: DagBag) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    for name in [*LANDING, *TABLES]:
        params = deepcopy(bag.dags[name].params)  # resolving keeps the value
        for day in ("start", "end"):
            assert params.get_param(day).resolve() is None
            assert params.get_param(day).resolve("2013-01-01") == "2013-01-01"
            with pytest.raises(ParamValidationError):
                params.get_param(day).resolve("1/1/2013")
        flag = "allow_shrink" if name in LANDING else "force"
        assert params.get_param(flag).resolve() is False
        with pytest.raises(ParamValidationError):
            params.get_param(flag).resolve("yes")


def test_assets_link_landing_tables_and_online_views_by_readable_names(bag: DagBag) -> None:
    def assets(dag: str, task: str, side: str) -> dict[str, str]:
        return {asset.name: asset.uri for asset in getattr(bag.dags[dag].get_task(task), side)}

    raw = {"raw/flights": "lake://on_prem/raw/flights"}
    features = {"features/aircraft_daily": "lake://on_prem/features/aircraft_daily"}
    assert assets("land_flights", "land", "outlets") == raw == assets("aircraft_daily", "wait", "inlets")
    assert (
        assets("aircraft_daily", "publish", "outlets") == features == assets("aircraft_daily", "materialize", "inlets")
    )
    assert assets("aircraft_daily", "materialize", "outlets") == {
        "online/aircraft_daily": "online://redis/aircraft_daily"
    }
    uris = {asset.uri for task in every_task(bag) for asset in (*task.inlets, *task.outlets)}
    assert not any("@" in uri or "?" in uri for uri in uris)


def test_serialization_round_trip(bag: DagBag) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in bag.dags.values():
        written = DagSerialization.to_dict(dag)
        again = DagSerialization.from_dict(written)
        assert again.dag_id == dag.dag_id
        assert sorted(again.task_dict) == sorted(dag.task_dict)
        assert again.dagrun_timeout == dag.dagrun_timeout
        assert all(task.has_retry_policy for task in again.tasks)


def test_reading_the_folder_twice_gives_the_same_dags_so_versions_do_not_pile_up(bag: DagBag) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    again = DagBag(str(CHECKOUT / "dags"))
    for dag_id, dag in bag.dags.items():
        assert DagSerialization.to_dict(again.dags[dag_id]) == DagSerialization.to_dict(dag)


@pytest.mark.parametrize("folder", ["dags", "plugins/feature_pipelines"])
def test_nothing_varies_at_parse_by_airflows_own_check(folder: str) -> None:
    from airflow.utils.dag_version_inflation_checker import check_dag_file_stability

    for path in (CHECKOUT / folder).glob("*.py"):
        assert check_dag_file_stability(str(path)).format_warnings() is None, path


class Upstream:
    """Stands in for Airflow's task instance: every XCom is an order."""

    _upstream_map_indexes: dict[str, None] = dict.fromkeys(STEPS)

    def xcom_pull(self, **_: object) -> str:
        return ORDER_URI


def test_every_templated_field_renders_for_one_interval(bag: DagBag) -> None:
    for task in every_task(bag):
        twin = task.prepare_for_execution()
        context: Any = {
            "ti": Upstream(),
            "data_interval_start": datetime(2013, 1, 1, tzinfo=UTC),
            "data_interval_end": datetime(2013, 1, 2, tzinfo=UTC),
        }
        twin.render_template_fields(context)
        text = str({name: getattr(twin, name) for name in twin.template_fields})
        assert "{{" not in text
        assert "XComArg" not in text
        if task.task_id == "compute":
            assert twin.application_args == [ORDER_URI]
            assert twin.application == str(CHECKOUT / "spark_jobs" / "compute.py")
            assert twin.name == f"my_feast.{task.dag_id}"
        if task.task_id == "publish":
            assert list(twin.op_args) == [ORDER_URI]


# What Airflow's own reading of .airflowignore says about its dependency.
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_below_plugins_airflow_executes_one_file_and_no_library() -> None:
    from airflow._shared.module_loading import find_path_from_directory

    found = [
        path for path in find_path_from_directory(str(CHECKOUT / "plugins"), ".airflowignore") if path.endswith(".py")
    ]
    assert found == [str(CHECKOUT / "plugins" / "feature_store_plugin.py")]


def test_the_scheduler_makes_a_pool_that_is_missing_and_leaves_the_others_alone(bag: DagBag) -> None:
    import sqlalchemy
    from airflow.models.pool import Pool
    from sqlalchemy.orm import Session

    from feature_pipelines.pool_listener import create_missing

    engine = sqlalchemy.create_engine("sqlite://")
    Pool.__table__.create(engine)
    with Session(engine) as session:
        session.add(Pool(pool="spark", slots=9, description="", include_deferred=False))
        for dag in bag.dags.values():
            made = create_missing(session, dag.dag_id)
            assert {"spark", *made} >= {task.pool for task in dag.tasks} - {"default_pool"}
            assert create_missing(session, dag.dag_id) == []
        assert {pool.pool: pool.slots for pool in session.scalars(sqlalchemy.select(Pool))} == {
            name: 9 if name == "spark" else pool["slots"] for name, pool in pools().items()
        }
    engine.dispose()
