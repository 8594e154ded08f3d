"""How Spark reaches the lakes: Hadoop settings that name the variable a secret is in, and never the secret.

A setting travels on the command line of spark-submit, into the Spark UI and the event log. Hadoop itself fills in
`${env.NAME}` where it is used: in the driver from the variables of the Airflow task, in an executor from those its worker
was started with.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from feast_lakehouse.errors import DataError
from feast_lakehouse.storage import scheme_of

if TYPE_CHECKING:
    from feature_pipelines.azure_identity import Access
    from feature_pipelines.environment import Environment

HADOOP = "spark.hadoop."
_AZURE = f"{HADOOP}fs.azure."
_OAUTH = "org.apache.hadoop.fs.azurebfs.oauth2."
_LOGIN = "https://login.microsoftonline.com/{}/oauth2/token"


@dataclass(frozen=True)
class Reach:
    """Settings for spark-submit, and the variables they name with the secrets themselves."""

    conf: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __or__(self, other: Reach) -> Reach:
        """Both; where they differ the other's."""
        return Reach({**self.conf, **other.conf}, {**self.variables, **other.variables})


SECRETS = {"key": "KEY", "sas": "SAS", "principal": "CLIENT_SECRET"}


def secret_variable(lake: str, kind: str) -> str:
    """The variable with a lake's secret: the workers of a cluster are started with it.

    Each kind has a name of its own: hadoop-azure puts a SAS into its URLs and errors, and masks it only where it looks
    like one, so an account key must never be taken for it.
    """
    return f"MY_FEAST_{lake.upper()}_{SECRETS[kind]}"


def reach(env: Environment, lakes: Iterable[str]) -> Reach:
    """How Spark reaches these lakes: as deltalake does, from the same connections.

    HDFS: the user is HADOOP_USER_NAME of the driver, for its executors too; fields of the connection's extra with a dot
    are Hadoop settings. Raises DataError for a connection that is missing, incomplete, or of no use to Spark.
    """
    found = Reach({})
    for lake in sorted(set(lakes)):
        root = env.lakes.roots[lake]
        if scheme_of(root) in {"hdfs", "viewfs"}:
            options = env.lakes.options(lake)
            found |= Reach({f"{HADOOP}{name}": value for name, value in options.items() if "." in name})
        elif scheme_of(root) in {"abfs", "abfss"} and env.config["offline_store"].get("credentials"):
            found |= _adls(lake, root)
    return found


def _adls(lake: str, root: str) -> Reach:
    from feature_pipelines.azure_identity import access_of
    from feature_pipelines.connections import LAKE, connection

    host = urlsplit(root).hostname or ""
    if ".dfs." not in host:
        raise DataError(
            f"{root} (lake {lake}): Spark expects abfss://<container>@<account>.dfs.core.windows.net/<folder>."
        )
    return azure_settings(access_of(connection(LAKE.format(lake))), host, lake)


def azure_settings(access: Access, host: str, lake: str) -> Reach:
    """hadoop-azure's settings for <account>.dfs.core.windows.net and this way in; a secret is in its variable and nowhere else.

    Raises DataError for the Azure CLI, which logs in a person and no cluster.
    """
    variable = secret_variable(lake, access.kind) if access.kind in SECRETS else ""
    secret = f"${{env.{variable}}}"
    tenant = access.tenant_id or ""
    if access.kind == "principal":
        settings = _oauth("ClientCredsTokenProvider", access, **{"client.endpoint": _LOGIN.format(tenant)})
        settings["account.oauth2.client.secret"] = secret
    elif access.kind == "managed":
        settings = _oauth("MsiTokenProvider", access, **{"msi.tenant": tenant})
    elif access.kind == "workload":
        settings = _oauth("WorkloadIdentityTokenProvider", access, **{"msi.tenant": tenant})
    elif access.kind == "sas":
        settings = {"account.auth.type": "SAS", "sas.fixed.token": secret}
    elif access.kind == "key":
        _require_base64(access)
        settings = {"account.auth.type": "SharedKey", "account.key": secret}
    else:
        raise DataError(
            f"{access.told_by}: identity {access.kind!r} is of no use to Spark. Expected a managed or workload identity, a "
            "service principal, a SAS or an account key."
        )
    hosts = [host, host.replace(".dfs.", ".blob.")] if access.endpoint else [host]
    # hadoop-azure leaves threads behind that would keep a driver alive after its work
    conf = {"spark.submit.callSystemExitOnMainExit": "true"}
    conf |= {f"{_AZURE}{name}.{host}": value for name, value in settings.items() for host in hosts if value}
    return Reach({**conf, **_emulator(access.endpoint)}, {variable: access.secret} if variable else {})


def _require_base64(access: Access) -> None:
    """hadoop-azure would put a key that is none into its error, and so into the log."""
    try:
        base64.b64decode(access.secret, validate=True)
    except ValueError:
        raise DataError(
            f"{access.told_by}: the account key is not base64. Is it all of the key, as the portal shows it?"
        ) from None


def _oauth(provider: str, access: Access, **more: str) -> dict[str, str]:
    return {
        "account.auth.type": "OAuth",
        "account.oauth.provider.type": f"{_OAUTH}{provider}",
        "account.oauth2.client.id": access.client_id or "",
        **{f"account.oauth2.{name}": value for name, value in more.items()},
    }


def _emulator(endpoint: str | None) -> dict[str, str]:
    """For Azurite: the Blob service at an address of its own, without folders of its own and without TLS.

    Files are renamed one by one as tasks end (version 2): Azurite lists a folder and the blob that stands for it apart from
    each other, hadoop-azure then sees the folder twice and would rename it twice when the job ends.
    """
    if not endpoint:
        return {}
    address = urlsplit(endpoint)
    if address.scheme != "http":
        raise DataError(f"{endpoint}: Spark reaches Azure's own addresses, or an emulator at http://host:port/account.")
    return {
        f"{_AZURE}abfs.endpoint": f"{address.hostname}:{address.port or 80}",
        f"{_AZURE}account.hns.enabled": "false",
        f"{_AZURE}fns.account.service.type": "BLOB",
        f"{_AZURE}always.use.https": "false",
        f"{_AZURE}networking.library": "JDK_HTTP_URL_CONNECTION",
        f"{HADOOP}fs.abfss.impl": "org.apache.hadoop.fs.azurebfs.AzureBlobFileSystem",
        f"{HADOOP}mapreduce.fileoutputcommitter.algorithm.version": "2",
    }
