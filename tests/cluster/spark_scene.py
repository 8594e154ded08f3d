"""Spark on a standalone cluster over HDFS and Azurite, without the rest: orders that run, and what a fault does to them."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from feature_pipelines import environment
from feature_pipelines.environment import Environment
from feature_pipelines.landing import land_day
from feature_pipelines.orders import write_order
from feature_pipelines.sources.flights import Flights
from feature_pipelines.sources.weather import Weather
from feature_pipelines.submitting import run_order
from spark_jobs.interval import Interval
from tests.services import downloads
from tests.services.azurite import Azurite, azurite
from tests.services.hdfs import Hdfs, hdfs
from tests.services.programs import free_port, wait_until
from tests.services.spark_cluster import SparkCluster, spark_cluster
from tests.services.stack import or_skip

DAYS = ["2013-01-01", "2013-01-02", "2013-01-03", "2013-01-04"]
WINDOW = Interval.parse(f"{DAYS[0]}T00:00:00+00:00", "2013-01-05T00:00:00+00:00")
USER = "feature_platform"
PATIENCE = 300
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Scene:
    """Four landed days, two workers of one core each."""

    home: Path
    hdfs: Hdfs
    azurite: Azurite
    spark: SparkCluster
    env: Environment
    patch: pytest.MonkeyPatch
    events: Path = field(init=False)
    driver_port: int = 0

    def __post_init__(self) -> None:
        self.events = self.home / "events"
        self.events.mkdir()

    def connect(self, **conf: str) -> None:
        """Sets the Spark connection, with these settings on top, for the next driver."""
        self.driver_port = free_port()
        settings = {
            "spark.jars": ",".join(str(jar) for jar in downloads.maven_jars(downloads.HADOOP_AZURE)),
            "spark.cores.max": "2",
            "spark.executor.cores": "1",
            "spark.executor.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            "spark.ui.port": str(self.driver_port),
            "spark.eventLog.enabled": "true",
            # to be read by the search for secrets
            "spark.eventLog.compress": "false",
            "spark.eventLog.dir": f"file://{self.events}",
            **conf,
        }
        told = {"conn_type": "spark", "host": self.spark.master, "extra": {"conf": settings, "ui": self.spark.ui}}
        self.patch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(told))

    def order(self, table: str, attempt: str) -> str:
        """The URI of an order for all four days."""
        uri = write_order(self.env, table, WINDOW, attempt=attempt, force=True)
        assert uri is not None
        return uri

    def whole(self) -> None:
        """Both workers there, no application of an earlier test left."""
        wait_until(
            lambda: self.spark.alive_workers() == 2 and not self.spark.applications(), what="Spark", seconds=PATIENCE
        )

    def log(self, order_uri: str) -> str:
        """What the driver of an order said."""
        return (self.home / "logs" / f"compute-{Path(order_uri).stem}.log").read_text(encoding="utf-8")

    def application(self, order_uri: str) -> str:
        """The id of an order's application, which it prints first."""
        return self.log(order_uri).partition("Spark application ")[2].split()[0]


class Running:
    """An order that runs in the background as the command line runs it."""

    def __init__(self, scene: Scene, order_uri: str) -> None:
        self.order_uri = order_uri
        self.error: Exception | None = None
        self._scene = scene
        self._thread = threading.Thread(target=self._run, name=order_uri, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            run_order(self._scene.env, self.order_uri, progress=lambda _: None)
        except Exception as error:  # noqa: BLE001 - told to the test by `ended`
            self.error = error

    def wait_for_tasks(self, done: int = 1) -> None:
        """Until both workers have executors and so many tasks are done: the job is in the middle."""
        spark, driver = self._scene.spark, f"http://127.0.0.1:{self._scene.driver_port}/api/v1/applications"

        def begun() -> bool:
            assert self._thread.is_alive(), self.error or self._scene.log(self.order_uri)
            if not all(spark.executors(worker) for worker in spark.names):
                return False
            try:
                executors = json.loads(page(f"{driver}/{self._scene.application(self.order_uri)}/executors"))
            except (OSError, LookupError):
                return False
            return sum(int(each["completedTasks"]) for each in executors) >= done

        wait_until(begun, what="tasks", seconds=PATIENCE)

    def ended(self, seconds: float = PATIENCE) -> None:
        """Waits for its end; raises what it raised."""
        self._thread.join(timeout=seconds)
        assert not self._thread.is_alive(), f"{self.order_uri}: still running after {seconds} s"
        if self.error is not None:
            raise self.error


@contextmanager
def scene(home: Path) -> Iterator[Scene]:
    """Everything up and the days landed. Skips the test when this machine cannot have a service."""
    with ExitStack() as running:
        files = running.enter_context(or_skip(hdfs(home / "hdfs")))
        account = running.enter_context(or_skip(azurite(home / "azurite")))
        variables = {"MY_FEAST_CLOUD_KEY": account.key}
        cluster = running.enter_context(or_skip(spark_cluster(home / "spark", variables=variables)))
        patch = running.enter_context(pytest.MonkeyPatch.context())
        account.container("lake")
        files.shell("-mkdir", "/my_feast")
        files.shell("-chown", USER, "/my_feast")
        patch.setattr(environment, "_hadoop_users", {})
        patch.setenv("HADOOP_USER_NAME", USER)  # and afterwards it is again what it was
        for name, value in _variables(home, files, account, cluster).items():
            patch.setenv(name, value)
        made = Scene(home, files, account, cluster, environment.load(), patch)
        made.connect()
        for day in WINDOW.days():
            land_day(made.env, Flights(), day)
            land_day(made.env, Weather(), day)
        yield made


def _variables(home: Path, files: Hdfs, account: Azurite, cluster: SparkCluster) -> dict[str, str]:
    storage = {"conn_type": "wasb", "host": account.blob_url, "login": account.account, "password": account.key}
    return {
        "MY_FEAST_ENVIRONMENT": "cluster",
        "MY_FEAST_HOME": str(home),
        "MY_FEAST_ON_PREM": f"{files.uri}/my_feast",
        "MY_FEAST_CLOUD": f"abfss://lake@{account.account}.dfs.core.windows.net/my feast",
        "MY_FEAST_SPARK_MASTER": cluster.master,
        # not of these tests
        "MY_FEAST_REDIS": "127.0.0.1:1",
        "MY_FEAST_REGISTRY": f"{account.blob_url}/registry/registry.db",
        "MY_FEAST_KAFKA": "127.0.0.1:1",
        "AIRFLOW_CONN_MY_FEAST_CLOUD": json.dumps(storage),
        "AIRFLOW_CONN_MY_FEAST_ON_PREM": json.dumps({"conn_type": "hdfs", "login": USER}),
    }


def page(url: str) -> bytes:
    """What a web server of this machine answers."""
    with _DIRECT.open(url, timeout=20) as answer:
        content: bytes = answer.read()
    return content


def until(ready: Callable[[], Any], what: str) -> None:
    """Waits as long as a slow machine may take."""
    wait_until(lambda: bool(ready()), what=what, seconds=PATIENCE)


def seconds_of(work: Callable[[], Any]) -> float:
    """How long something took."""
    began = time.monotonic()
    work()
    return time.monotonic() - began
