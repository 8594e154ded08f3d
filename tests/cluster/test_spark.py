"""Orders on a real Spark cluster over HDFS and Azurite: right results, through every loss, and no secret to be seen."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines import environment
from feature_pipelines.orders import write_order
from feature_pipelines.publishing import publish_order
from feature_pipelines.submitting import run_order
from tests import oracle
from tests.cluster.canary import CommandLines, found_in, found_in_files
from tests.cluster.spark_scene import DAYS, WINDOW, Running, Scene, page, scene, seconds_of, until

pytestmark = pytest.mark.cluster
ON_HDFS, ON_ADLS = "route_performance", "airport_weather_hourly"
LISTED = 4
"""Tasks that read the order and look at its files; the next ones read rows and shuffle them, on both workers."""


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("spark")) as made:
        yield made


def silent(_: float) -> None:
    """No progress is shown."""


def wrong_rows(made: Scene, table: str) -> list[str]:
    from tests.end_to_end.answers import table_differences

    return table_differences(made.env, table, oracle.rows(table, DAYS, landed=DAYS))


@pytest.mark.parametrize("table", [ON_HDFS, ON_ADLS])
def test_an_order_on_either_lake_ends_as_the_oracle_says(spark: Scene, table: str) -> None:
    spark.whole()
    spark.connect()
    order = spark.order(table, "first")
    run_order(spark.env, order, progress=silent)
    assert publish_order(spark.env, order).changed
    assert wrong_rows(spark, table) == []
    assert spark.env.features(table).uri.startswith("hdfs://" if table == ON_HDFS else "abfss://")


def test_no_secret_is_in_a_command_line_the_spark_ui_an_event_log_or_any_log(spark: Scene) -> None:
    spark.whole()
    secrets = {"my_feast_cloud": spark.azurite.key}
    spark.connect()
    with CommandLines() as lines:
        lines.secrets = secrets
        running = Running(spark, spark.order(ON_ADLS, "canary"))
        running.wait_for_tasks()
        driver = f"http://127.0.0.1:{spark.driver_port}"
        api = f"{driver}/api/v1/applications/{spark.application(running.order_uri)}"
        pages = [page(url) for url in (f"{driver}/environment/", f"{driver}/executors/", f"{api}/environment")]
        running.ended()
    assert b"spark.hadoop.fs.azure.account.key" in pages[-1]
    assert [found for each in pages for found in found_in(each, secrets)] == []
    assert lines.found == set()
    assert any(b"compute.py" in line for line in lines.seen)
    folders = [spark.events, spark.home / "logs", spark.home / "spark"]
    assert all(any(path.is_file() for path in folder.rglob("*")) for folder in folders)
    assert [found for folder in folders for found in found_in_files(folder, secrets)] == []


@pytest.mark.parametrize("fault", ["worker cut off", "worker killed", "executor killed"])
def test_a_loss_in_mid_job_changes_nothing_in_the_result(spark: Scene, fault: str) -> None:
    spark.whole()
    spark.connect()
    running = Running(spark, spark.order(ON_HDFS, fault))
    running.wait_for_tasks(LISTED)
    try:
        if fault == "worker cut off":
            spark.spark.cut_off("worker1")
        elif fault == "worker killed":
            spark.spark.kill_worker("worker1")
        else:
            os.kill(spark.spark.executors("worker1")[0], signal.SIGKILL)
        running.ended()
    finally:
        if fault == "worker cut off":
            spark.spark.reconnect("worker1")
        elif fault == "worker killed":
            spark.spark.start_worker("worker1")
    assert "ost executor" in spark.log(running.order_uri)
    publish_order(spark.env, running.order_uri, force=True)
    assert wrong_rows(spark, ON_HDFS) == []


def test_a_killed_driver_and_its_retry_are_one_commit(spark: Scene) -> None:
    spark.whole()
    spark.connect()
    ref = spark.env.features("airport_hourly")
    killed = Running(spark, spark.order("airport_hourly", "1"))
    killed.wait_for_tasks(LISTED)
    os.kill(driver_of(killed.order_uri), signal.SIGKILL)
    with pytest.raises(TransportError, match="Spark ended with code -9"):
        killed.ended()
    until(lambda: not spark.spark.applications(), "the master to forget the application")
    retried = spark.order("airport_hourly", "2")
    run_order(spark.env, retried, progress=silent)
    assert publish_order(spark.env, retried).changed
    assert ref.open().version() == 0
    with pytest.raises(DataError, match="the application has not finished"):
        publish_order(spark.env, killed.order_uri)
    assert wrong_rows(spark, "airport_hourly") == []


def test_an_orphan_that_ends_after_its_retry_changes_nothing(spark: Scene) -> None:
    spark.whole()
    spark.connect(**{"spark.cores.max": "1"})
    orphan = Running(spark, spark.order("aircraft_daily", "1"))
    until(spark.spark.applications, "the first application")
    driver = driver_of(orphan.order_uri)
    os.kill(driver, signal.SIGSTOP)
    spark.connect(**{"spark.cores.max": "1"})
    retried = spark.order("aircraft_daily", "2")
    run_order(spark.env, retried, progress=silent)
    publish_order(spark.env, retried)
    published = spark.env.features("aircraft_daily").state()
    os.kill(driver, signal.SIGCONT)
    orphan.ended()
    assert not publish_order(spark.env, orphan.order_uri).changed
    assert spark.env.features("aircraft_daily").state() == published
    assert wrong_rows(spark, "aircraft_daily") == []


def driver_of(order_uri: str) -> int:
    """The process id of an order's driver."""
    lines = {int(file.parent.name): file.read_bytes().split(b"\0") for file in Path("/proc").glob("[0-9]*/cmdline")}
    found = [
        pid
        for pid, line in lines.items()
        if order_uri.encode() in line and b"org.apache.spark.deploy.SparkSubmit" in line
    ]
    return found[0]


def test_a_task_that_is_killed_takes_its_application_along(spark: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.bases.operator import ExecutorSafeguard
    from airflow.sdk.exceptions import AirflowException

    from feature_pipelines.computing import ComputeOrder

    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    spark.whole()
    spark.connect()
    pushed: dict[str, str] = {}
    task = SimpleNamespace(try_number=1, xcom_push=lambda key, value: pushed.update({key: value}))
    order = spark.order(ON_HDFS, "on_kill")
    operator = ComputeOrder(task_id="compute", table=ON_HDFS, order=order)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            operator.execute({"ti": task})  # type: ignore[typeddict-item]
        except AirflowException as error:
            failed.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    until(lambda: pushed and spark.spark.executors(), "the application")
    link = pushed["_link_SparkApplicationLink"]
    assert link == operator.operator_extra_links[0].get_link(operator, ti_key=None)  # type: ignore[arg-type]
    assert operator.application_page.split("appId=")[1].encode() in page(link)
    assert spark.spark.applications() == [f"my_feast.{ON_HDFS}"]
    operator.on_kill()
    gone = seconds_of(lambda: until(lambda: not spark.spark.applications(), "the master to forget it"))
    assert gone < 20
    worker.join(timeout=60)
    assert len(failed) == 1
    until(lambda: not spark.spark.executors(), "the executors to end")


def test_without_executors_an_application_fails_in_its_own_time(spark: Scene) -> None:
    spark.whole()
    spark.connect(**{"spark.executor.memory": "2g", "spark.myFeast.executorPatience": "5s"})
    with pytest.raises(TransportError, match="no executor for 5 s"):
        run_order(spark.env, spark.order(ON_HDFS, "too big"), progress=silent)


def test_a_master_that_is_lost_ends_the_application_or_leaves_it_alone(spark: Scene) -> None:
    spark.whole()
    spark.connect(**{"spark.myFeast.executorPatience": "20s"})
    running = Running(spark, spark.order(ON_HDFS, "master lost"))
    running.wait_for_tasks(LISTED)
    spark.spark.kill_master()
    survived = outcome(running)
    began = seconds_of(lambda: refused(spark))
    spark.spark.start_master()
    if survived:
        publish_order(spark.env, running.order_uri, force=True)
        assert wrong_rows(spark, ON_HDFS) == []
    assert began < 30


def outcome(running: Running) -> bool:
    """Whether it ended well; badly is worth a retry."""
    try:
        running.ended(180)
    except TransportError:
        return False
    return True


def refused(made: Scene) -> None:
    """While no master runs an order is refused in seconds, in the words of whoever has to act."""
    with pytest.raises(TransportError, match=r"connection spark_default: no Spark master answers at spark://"):
        run_order(made.env, made.order(ON_HDFS, "no master"), progress=silent)


def with_sas(made: Scene, patch: pytest.MonkeyPatch) -> None:
    """The connection holds a SAS from now on."""
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    sas = generate_account_sas(
        made.azurite.account,
        made.azurite.key,
        ResourceTypes(container=True, object=True),
        AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    extra = {"sas_token": sas, "account_name": made.azurite.account}
    told = {"conn_type": "wasb", "host": made.azurite.blob_url, "extra": extra}
    patch.setenv("AIRFLOW_CONN_MY_FEAST_CLOUD", json.dumps(told))


def test_a_sas_is_enough(spark: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    spark.connect()
    monkeypatch.setenv("MY_FEAST_SPARK_MASTER", "local[2]")
    with_sas(spark, monkeypatch)
    env = environment.load()
    order = write_order(env, ON_ADLS, WINDOW, attempt="sas", force=True)
    assert order is not None
    run_order(env, order, progress=silent)
    publish_order(env, order, force=True)
    assert wrong_rows(spark, ON_ADLS) == []
    assert "sig=" not in spark.log(order)


def test_executors_that_lack_the_secret_are_refused_for_good(spark: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    spark.whole()
    spark.connect()
    with_sas(spark, monkeypatch)  # the workers were started with the account key
    order = spark.order(ON_ADLS, "executors lack it")
    with pytest.raises(DataError, match="restart the workers when it was renewed or is of another kind") as refusal:
        run_order(spark.env, order, progress=silent)
    assert "executor" in spark.log(order)
    assert spark.azurite.key not in str(refusal.value) + spark.log(order)


def test_the_secret_of_another_account_is_refused_and_not_shown(
    spark: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spark.whole()
    spark.connect()
    order = spark.order(ON_ADLS, "wrong key")
    told: dict[str, Any] = {"conn_type": "wasb", "host": spark.azurite.blob_url, "login": spark.azurite.account}
    wrong = "Y2FuYXJ5LXdyb25nLWtleQ=="
    monkeypatch.setenv("AIRFLOW_CONN_MY_FEAST_CLOUD", json.dumps(told | {"password": wrong}))
    with pytest.raises(DataError, match=r"403.*\n(?s:.*)Check connection my_feast_cloud") as refusal:
        run_order(spark.env, order, progress=silent)
    assert "MY_FEAST_CLOUD_KEY" in str(refusal.value)
    assert wrong not in str(refusal.value)
    assert wrong not in spark.log(order)
