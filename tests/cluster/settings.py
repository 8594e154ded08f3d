"""The variables and connections of the cluster environment on the test services, as an administrator would set them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from feature_pipelines.embedded.settings import Settings
from tests.services import downloads
from tests.services.azurite import Azurite
from tests.services.hdfs import Hdfs
from tests.services.kafka import Kafka
from tests.services.postgres import Postgres
from tests.services.redis_secured import RedisSecured
from tests.services.spark_cluster import SparkCluster, spark_cluster
from tests.services.stack import Service

HADOOP_USER = "feature_platform"
ON_PREM = "/my_feast"
CLOUD, REGISTRY = "lake", "registry"
EXECUTOR = {
    "spark.executor.memory": "512m",
    "spark.executor.cores": "1",
    "spark.cores.max": "2",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.shuffle.partitions": "4",
}
"""Small and quick to start."""
SOON = {
    # a scheduler that died, and the tasks that died with it, are missed within a minute instead of five
    "scheduler.orphaned_tasks_check_interval": "10",
    "scheduler.task_instance_heartbeat_timeout": "60",
    "scheduler.task_instance_heartbeat_timeout_detection_interval": "5",
    # each of Airflow's processes keeps connections of its own
    "database.sql_alchemy_pool_size": "3",
}


@dataclass(frozen=True)
class ClusterSettings(Settings):
    """As the embedded environment's, with other systems: what they need comes last and wins."""

    systems: Mapping[str, str] = field(default_factory=dict, repr=False)

    def own_variables(self) -> dict[str, str]:
        """Everything that is set for Airflow's components and for command lines."""
        return {**super().own_variables(), **self.systems}


@dataclass(frozen=True)
class Systems:
    """The running services."""

    hdfs: Hdfs
    spark: SparkCluster
    kafka: Kafka
    azurite: Azurite
    redis: RedisSecured
    postgres: Postgres

    def prepare(self) -> None:
        """What an administrator makes once: containers, and a folder of its own for the platform's HDFS user."""
        self.azurite.container(CLOUD)
        self.azurite.container(REGISTRY)
        self.hdfs.shell("-mkdir", ON_PREM)
        self.hdfs.shell("-chown", f"{HADOOP_USER}:{HADOOP_USER}", ON_PREM)
        self.hdfs.shell("-chmod", "750", ON_PREM)

    def variables(self) -> dict[str, str]:
        """Addresses as MY_FEAST_…, credentials as AIRFLOW_CONN_…."""
        account = f"{self.azurite.account}.dfs.core.windows.net"
        addresses = {
            "ENVIRONMENT": "cluster",
            "ON_PREM": f"{self.hdfs.uri}{ON_PREM}",
            "CLOUD": f"abfss://{CLOUD}@{account}/my_feast",
            "REGISTRY": f"{self.azurite.blob_url}/{REGISTRY}/registry.db",
            "REDIS": f"{self.redis.address},ssl=true,ssl_ca_certs={self.redis.ca}",
            "KAFKA": self.kafka.bootstrap_tls,
            "SPARK_MASTER": self.spark.master,
        }
        return {
            **{f"MY_FEAST_{name}": value for name, value in addresses.items()},
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in self.connections().items()},
            **{f"AIRFLOW__{name.replace('.', '__').upper()}": value for name, value in SOON.items()},
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.postgres.url,
        }

    def connections(self) -> dict[str, dict[str, Any]]:
        """Airflow's connections, each with its secret."""
        storage = {
            "conn_type": "wasb",
            "host": self.azurite.blob_url,
            "login": self.azurite.account,
            "password": self.azurite.key,
        }
        sasl = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "ssl.ca.location": str(self.kafka.ca),
        }
        spark = {"ui": self.spark.ui, "conf": {**EXECUTOR, **_azure_classes()}}
        return {
            "my_feast_redis": {"conn_type": "redis", "login": self.redis.user, "password": self.redis.password},
            "my_feast_on_prem": {"conn_type": "hdfs", "login": HADOOP_USER},
            "my_feast_cloud": storage,
            "my_feast_registry": storage,
            "my_feast_events": {
                "conn_type": "kafka",
                "login": self.kafka.user,
                "password": self.kafka.password,
                "extra": sasl,
            },
            "spark_default": {"conn_type": "spark", "host": self.spark.master, "extra": spark},
        }

    def secrets(self) -> dict[str, str]:
        """What may be found nowhere but where it was put."""
        return {
            "my_feast_redis": self.redis.password,
            "my_feast_cloud, my_feast_registry": self.azurite.key,
            "my_feast_events": self.kafka.password.rpartition("SharedAccessKey=")[2],
            "Airflow's database": self.postgres.password,
        }


def spark_with_secrets(azurite: Azurite) -> Service:
    """Spark workers that were started with the cloud lake's secret in their variables, as docs/cluster.md says."""
    return partial(spark_cluster, variables={"MY_FEAST_CLOUD_KEY": azurite.key})


def _azure_classes() -> dict[str, str]:
    """hadoop-azure, which the pyspark package has not: driver and executors are on this machine and read the same files."""
    jars = ":".join(str(jar) for jar in downloads.maven_jars(downloads.HADOOP_AZURE))
    return {"spark.driver.extraClassPath": jars, "spark.executor.extraClassPath": jars}
