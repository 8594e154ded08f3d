"""Each service really starts, does one real thing, refuses who may not, and stops leaving no process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from deltalake import DeltaTable, write_deltalake

from feature_pipelines.embedded import machine
from tests.services import downloads
from tests.services.azurite import Azurite, azurite
from tests.services.certificates import Authority
from tests.services.hdfs import Hdfs, hdfs
from tests.services.kafka import Kafka, kafka
from tests.services.postgres import Postgres, postgres
from tests.services.programs import Programs, has_process, wait_until
from tests.services.redis_secured import RedisSecured, redis_secured
from tests.services.spark_cluster import SparkCluster, spark_cluster
from tests.services.stack import or_skip

ROWS = pa.table({"number": [1, 2, 3]})
JOB = """
import sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
print("SUM", spark.range(0, 1000, 1, 8).selectExpr("sum(id) as total").first().total)
"""


def check(service: AbstractContextManager[Any], use: Callable[[Any], None]) -> None:
    """Use a service; afterwards no process is left in any group that it had."""
    with or_skip(service) as running:
        groups = running.programs.groups()
        assert groups
        use(running)
    assert not any(has_process(group) for group in groups)


def read(uri: str, options: dict[str, str] | None = None) -> list[int]:
    column: list[int] = DeltaTable(uri, storage_options=options).to_pyarrow_table()["number"].to_pylist()
    return sorted(column)


def test_azurite_holds_a_delta_table_for_the_key_alone(tmp_path: Path) -> None:
    def use(account: Azurite) -> None:
        uri = f"{account.container('lake')}/folder/table"
        write_deltalake(uri, ROWS, storage_options=account.storage_options)
        assert read(uri, account.storage_options) == [1, 2, 3]
        wrong = account.storage_options | {"azure_storage_account_key": "d3Jvbmc="}
        with pytest.raises(OSError, match=r"403|Forbidden|AuthorizationFailure|AuthenticationFailed"):
            read(uri, wrong)

    check(azurite(tmp_path), use)


def test_kafka_keeps_timestamps_and_refuses_a_wrong_password(tmp_path: Path) -> None:
    def use(broker: Kafka) -> None:
        broker.create_topic("weather")
        for tls in (False, True):
            producer = Producer(broker.settings(tls=tls))
            producer.produce("weather", b"rain", timestamp=1_357_000_000_000)
            assert producer.flush(20) == 0
            assert consumed(broker.settings(tls=tls) | {"group.id": f"tls-{tls}"}) == (b"rain", 1_357_000_000_000)
        assert refusal(broker.settings() | {"sasl.password": "wrong"}) == KafkaError._AUTHENTICATION
        missing = broker.admin().list_topics("no-such-topic", timeout=60).topics["no-such-topic"]
        assert missing.error is not None
        assert missing.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART

    check(kafka(tmp_path), use)


def consumed(settings: dict[str, Any]) -> tuple[bytes, int]:
    consumer = Consumer(settings | {"auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["weather"])
        message = consumer.poll(30)
        assert message is not None
        assert message.error() is None
        return bytes(message.value() or b""), message.timestamp()[1]
    finally:
        consumer.close()


def refusal(settings: dict[str, Any]) -> int:
    """The first error that a client is told of."""
    told: list[int] = []
    options = {"error_cb": lambda error: told.append(error.code()), "log_level": 0, "group.id": "x"}
    consumer = Consumer(settings | options)
    try:
        with pytest.raises(KafkaException):
            consumer.list_topics(timeout=5)
        consumer.poll(1)
    finally:
        consumer.close()
    return next(code for code in told if code != KafkaError._ALL_BROKERS_DOWN)


def test_redis_answers_its_user_over_tls_alone(tmp_path: Path) -> None:
    def use(server: RedisSecured) -> None:
        with server.client() as client:
            client.set("key", "value")
            assert client.get("key") == b"value"
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.shutdown()
        with server.client(password="wrong") as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        with server.client(username=None, password=None) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        with server.client(ssl_ca_certs=None) as client, pytest.raises(redis.ConnectionError, match="CERTIFICATE"):
            client.ping()
        with server.client(ssl=False) as client, pytest.raises(redis.ConnectionError):
            client.ping()
        server.kill()
        assert not server.answers()
        server.restart()
        with server.client() as client:
            assert client.get("key") is None

    check(redis_secured(tmp_path), use)


def test_an_expired_certificate_is_refused_by_the_client(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    expired = authority.issue("redis", expired=True)

    def use(server: RedisSecured) -> None:
        with server.client() as client, pytest.raises(redis.ConnectionError, match="certificate has expired"):
            client.ping()

    check(redis_secured(tmp_path, certificate=expired, ca=authority.ca), use)


def test_postgres_answers_its_user(tmp_path: Path) -> None:
    def use(server: Postgres) -> None:
        assert server.query("SELECT 1") == [(1,)]
        owner = Path(f"/proc/{server.programs.pid('postgres')}").stat().st_uid
        assert owner != 0

    check(postgres(tmp_path), use)


def test_hdfs_holds_a_delta_table_over_the_loss_of_its_datanode(tmp_path: Path) -> None:
    def use(system: Hdfs) -> None:
        uri = f"{system.uri}/lake/table"
        write_deltalake(uri, ROWS)
        assert read(uri) == [1, 2, 3]
        system.kill("datanode1")
        with pytest.raises(OSError, match="DataNode"):
            read(uri)
        system.restart("datanode1")
        assert read(uri) == [1, 2, 3]
        assert "OFF" in system.admin("-safemode", "get")

    check(hdfs(tmp_path), use)


@pytest.mark.cluster
def test_spark_runs_a_job_on_two_workers_and_survives_its_daemons(tmp_path: Path) -> None:
    def use(cluster: SparkCluster) -> None:
        assert len(cluster.workers) == 2
        assert submit(cluster, tmp_path) == "SUM 499500"
        cluster.kill_worker("worker1")
        wait_until(lambda: cluster.alive_workers() == 1, what="the master notices", seconds=120)
        assert submit(cluster, tmp_path) == "SUM 499500"
        cluster.start_worker("worker1")
        cluster.kill_master()
        cluster.start_master()
        assert cluster.alive_workers() == 2

    check(spark_cluster(tmp_path), use)


def submit(cluster: SparkCluster, folder: Path) -> str:
    (folder / "job.py").write_text(JOB)
    conf = {"spark.executor.memory": "512m", "spark.driver.host": machine.LOOPBACK, "spark.ui.enabled": "false"}
    command = [str(Path(sys.executable).parent / "spark-submit"), "--master", cluster.master]
    command += [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]
    done = subprocess.run([*command, str(folder / "job.py")], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_a_program_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    with Programs(tmp_path) as programs:
        programs.start("broken", ["/bin/sh", "-c", "echo no such disk; exit 3"], environment={})
        with pytest.raises(Exception, match=r"broken ended with 3(.|\n)*no such disk"):
            programs.wait_until(lambda: False, what="broken", seconds=10)


def test_what_cannot_be_fetched_is_unavailable_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_FEAST_CACHE", str(tmp_path / "cache"))
    with pytest.raises(downloads.Unavailable, match="no-such-package"):
        downloads.debian("no-such-package-of-ours")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(downloads.Unavailable, match="mvn is not on PATH"):
        downloads.maven_jars(downloads.KAFKA)
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_one_command_holds_services_up_until_ctrl_c() -> None:
    command = [sys.executable, "-m", "tests.services", "redis"]
    launcher = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    try:
        printed = []
        for line in launcher.stdout:
            printed.append(line)
            if "Ctrl-C" in line:
                break
        assert any("redis" in line for line in printed), printed
        assert not any("canary" in line for line in printed)
    finally:
        launcher.terminate()
        assert launcher.wait(timeout=120) == 0
        launcher.stdout.close()
