"""Credentials, from Airflow connections: inside a task through Airflow, elsewhere from AIRFLOW_CONN_<ID> variables.

The three functions at the end are what the environments' files name. No other place knows a credential.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from feast_lakehouse.errors import DataError
from feast_lakehouse.named import from_origin
from feature_pipelines import environment
from feature_pipelines.connection_text import Connection, extra_object, parse_connection

if TYPE_CHECKING:
    from redis.credentials import CredentialProvider

    from feast_lakehouse.lakes import StorageOptions

REDIS, REGISTRY = "my_feast_redis", "my_feast_registry"
LAKE = "my_feast_{}"
_TASK_RUNNER = "airflow.sdk.execution_time.task_runner"


class ConnectionMissing(DataError):
    """Nobody has made the connection, or nothing gives it to this process."""


def connection(conn_id: str) -> Connection:
    """The connection of this id.

    In a task, and in the triggerer, Airflow is asked (its secrets backend, its variables, its database). Elsewhere the
    variable AIRFLOW_CONN_<ID> is read without starting Airflow, and Airflow's secrets backend is asked only when one is
    configured in the variables. Raises ConnectionMissing, and DataError for a connection that cannot be read.
    """
    if _inside_airflow():
        return _from_airflow(conn_id)
    text = environment.connection_variable(conn_id)
    if text:
        return parse_connection(conn_id, text)
    if environment.has_secrets_backend():
        return _from_airflow(conn_id)
    raise _missing(conn_id)


def _inside_airflow() -> bool:
    runner = sys.modules.get(_TASK_RUNNER)
    return runner is not None and hasattr(runner, "SUPERVISOR_COMMS")


def _from_airflow(conn_id: str) -> Connection:
    from airflow.sdk import Connection as AirflowConnection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found: Any = AirflowConnection.get(conn_id)
    except AirflowNotFoundException:
        raise _missing(conn_id) from None
    names = ("conn_type", "host", "port", "login", "password", "schema")
    try:
        return Connection(conn_id, **{name: getattr(found, name) for name in names}, extra=extra_object(found.extra))
    except ValueError:
        raise DataError(f"connection {conn_id}: expected a JSON object as extra.") from None


def _missing(conn_id: str) -> ConnectionMissing:
    return ConnectionMissing(
        f"connection {conn_id}: not found. Make it in Airflow (Admin, Connections) or in its secrets backend; for the "
        f"command line and Feast set the variable AIRFLOW_CONN_{conn_id.upper()}. docs/cluster.md says what it holds."
    )


# ------------------------------------------------------------------------- what environments/*/feature_store.yaml names


@from_origin(f"connection {REDIS}")
def redis_credentials() -> CredentialProvider:
    """Login and password of `my_feast_redis`, or tokens of Microsoft Entra when its extra says `"auth": "entra"`."""
    from redis.credentials import UsernamePasswordCredentialProvider

    found = connection(REDIS)
    if found.text("auth") == "entra":
        from feature_pipelines.azure_identity import token_credential
        from feature_pipelines.entra import EntraTokens

        return EntraTokens(token_credential(found), username=found.text("object_id"))
    if not found.password:
        raise DataError(
            f'{found}: expected a password, or extra {{"auth": "entra"}} to log in with a token of Microsoft Entra.'
        )
    return UsernamePasswordCredentialProvider(found.login or None, found.password)


def lake_options(lake: str) -> StorageOptions:
    """What deltalake needs to reach a lake, from the connection `my_feast_<lake>`; nothing for a lake of local folders.

    Where the lake is tells which storage it is. HDFS: the login is the user of this process from now on, and fields of
    extra with a dot are Hadoop settings; the connection may be missing (the user is then this process's own, or the
    Kerberos ticket's). ADLS: see feature_pipelines.azure_identity. Raises DataError for a connection that is missing,
    incomplete, or of no known kind.
    """
    from feast_lakehouse.lakes import StorageOptions
    from feast_lakehouse.storage import AZURE, scheme_of
    from feature_pipelines import azure_identity

    root = str(environment.load().config["offline_store"]["lakes"][lake])
    scheme, conn_id = scheme_of(root), LAKE.format(lake)
    if scheme in {"hdfs", "viewfs"}:
        return StorageOptions(_hadoop(conn_id), origin=f"connection {conn_id}")
    if scheme in AZURE:
        found = connection(conn_id)
        return StorageOptions(azure_identity.deltalake_options(found), origin=str(found))
    return StorageOptions({}, origin="")


@from_origin(f"connection {REGISTRY}")
def registry_credential() -> Any:
    """What the Azure SDK takes as a credential for the registry's blob, from the connection `my_feast_registry`."""
    from feature_pipelines.azure_identity import sdk_credential

    return sdk_credential(connection(REGISTRY))


def _hadoop(conn_id: str) -> dict[str, str]:
    try:
        found = connection(conn_id)
    except ConnectionMissing:
        return {}
    if found.login:
        environment.become_hadoop_user(found.login, told_by=str(found))
    return {name: str(value) for name, value in found.extra.items() if "." in name}
