"""The settings of an order's Spark application: what its master needs, its lakes, the environment's file, the connection."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.connections import LAKE
from feature_pipelines.spark_storage import SECRETS, Reach, reach, secret_variable
from spark_jobs.features import feature_tables
from spark_jobs.submit import cluster_conf, quick_conf

if TYPE_CHECKING:
    from feature_pipelines.connection_text import Connection
    from feature_pipelines.environment import Environment

SPARK_CONNECTION = "spark_default"
"""The Airflow connection that says where Spark applications run: local[2], spark://host:7077, ..."""

CONNECT_SECONDS = 5.0
STANDALONE = "spark://"
_SECRET = re.compile(r"account\.key|secret|password|passphrase|sas\.fixed|(?<!sas\.)token(?!\.provider)", re.IGNORECASE)
_NAMES_A_VARIABLE = re.compile(r"\$\{env\.\w+\}")


def of_connection(env: Environment, table: str, connection: Connection) -> tuple[str, Reach]:
    """The master an Airflow connection names, and the settings there. Raises what `spark_settings` raises."""
    master = connection.host or ""
    if connection.conn_type != "spark" or ("://" not in master and connection.port):
        master = f"{connection.conn_type}://{master}"
    master = f"{master}:{connection.port}" if connection.port else master
    if connection.text("deploy-mode") == "cluster":
        raise DataError(
            f"{connection}: a Spark standalone cluster runs Python drivers in client mode only: remove deploy-mode."
        )
    told = connection.extra.get("conf") or {}
    return master, spark_settings(env, table, master, told=told, told_by=str(connection))


def spark_settings(env: Environment, table: str, master: str, *, told: Mapping[str, Any], told_by: str) -> Reach:
    """Settings and variables for the orders of a table on this master; the later of these wins.

    What is sound for one machine or a cluster; how the table's lakes are reached; `spark.conf` of the environment's file;
    `told`, the field `conf` of the connection's extra. Raises DataError for a secret among them, which would be read by
    everybody, and TransportError within seconds when no master answers.
    """
    place = quick_conf() if master.startswith("local") else cluster_conf()
    if master.startswith(STANDALONE):
        here = address_towards(master, told_by=told_by)
        place |= {"spark.driver.host": here, "spark.driver.bindAddress": here}
    own = {**(env.spark.get("conf") or {}), **told}
    conf = Reach({**place}) | reach(env, lakes_of(table)) | Reach({name: str(value) for name, value in own.items()})
    refuse_secrets(conf.conf, told_by=f"{env.yaml} or {told_by}")
    return conf | Reach({}, python_variables(master))


def lakes_of(table: str) -> set[str]:
    """The lakes that a table's orders read and write."""
    found = feature_tables()[table]
    return {found.lake, *(each.raw.lake for each in found.inputs)}


def refused(table: str, said: str) -> DataError:
    """The error for an application that storage refused; `said` are its own words."""
    lakes = sorted(lakes_of(table))
    connections = " and ".join(f"connection {LAKE.format(lake)}" for lake in lakes)
    variables = ", ".join(secret_variable(lake, kind) for lake in lakes for kind in SECRETS)
    return DataError(
        f"{table}: {said}\nCheck {connections}: its credential, and what it may do. Executors have the secret that "
        f"their worker was started with ({variables}): restart the workers when it was renewed or is of another kind."
    )


def python_variables(master: str) -> dict[str, str]:
    """The driver runs on this Python. So does the rest on one machine; the workers of a cluster have a Python of their own."""
    own = {"PYSPARK_DRIVER_PYTHON": sys.executable}
    return own | ({"PYSPARK_PYTHON": sys.executable} if master.startswith("local") else {})


def refuse_secrets(conf: Mapping[str, str], *, told_by: str) -> None:
    """Raises DataError for a setting that looks like a secret and is none of `${env.NAME}`. The text does not repeat it."""
    shown = sorted(
        name for name, value in conf.items() if _SECRET.search(name) and not _NAMES_A_VARIABLE.fullmatch(value)
    )
    if shown:
        raise DataError(
            f"{told_by}: {', '.join(shown)} would be seen in the process list and in the Spark UI. Put the secret into a "
            "variable of the workers and into a connection, and write ${env.NAME} here. docs/cluster.md says how."
        )


def address_towards(master: str, *, told_by: str) -> str:
    """The address of this machine as the master and its workers see it: that of the way to the master.

    Raises TransportError when none of the masters of spark://host:port,host:port accepts a connection within seconds.
    """
    failures = []
    for host, port in masters(master):
        try:
            with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as way:
                return str(way.getsockname()[0])
        except OSError as error:
            failures.append(f"{host}:{port}: {error}")
    raise TransportError(
        f"{told_by}: no Spark master answers at {master} ({'; '.join(failures)}). Does the master run, is the address right, "
        "and may this machine reach its port?"
    )


def masters(master: str) -> list[tuple[str, int]]:
    """Host and port of each master. Raises DataError for anything but spark://host:port[,host:port]."""
    parts = [urlsplit(f"//{each}") for each in master.removeprefix(STANDALONE).split(",")]
    try:
        found = [(part.hostname, part.port) for part in parts]
    except ValueError:
        found = [(None, None)]
    if not master.startswith(STANDALONE) or not all(host and port for host, port in found):
        raise DataError(f"Spark master {master!r}: expected spark://host:7077")
    return [(str(host), int(port or 0)) for host, port in found]
