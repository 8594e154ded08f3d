"""Who we are for Azure, read from a connection: managed identity, service principal, SAS, account key; in this order.

| credential | fields of the connection |
|---|---|
| managed identity | none, or extra `managed_identity_client_id` for one that a user assigned |
| workload identity, Azure CLI | extra `identity`: `workload` or `cli` |
| service principal | login = client id, password = secret, extra `tenant_id` |
| SAS | extra `sas_token` |
| account key | login = account, password = key (or extra `account_key`) |

Extra `authority_host` is where tokens are asked for in a cloud other than the public one. Instead of these, extra
`connection_string` may hold what the portal shows. A `host` of http://… is an emulator (Azurite).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from feast_lakehouse.errors import DataError
from feature_pipelines import environment

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

    from feature_pipelines.connection_text import Connection

Kind: TypeAlias = Literal["managed", "workload", "cli", "principal", "sas", "key"]
IDENTITIES: tuple[Kind, ...] = ("managed", "workload", "cli")


@dataclass(frozen=True)
class Access:
    """One way in. `secret` is the client secret, the SAS without its question mark, or the account key."""

    told_by: str
    kind: Kind
    client_id: str | None = None
    tenant_id: str | None = None
    account: str | None = None
    endpoint: str | None = None
    authority: str | None = None
    secret: str = field(default="", repr=False)


def access_of(connection: Connection) -> Access:
    """How the connection gets in. Raises DataError naming the fields that are missing or contradict each other."""
    string = _parts(connection)
    told_by, tenant = str(connection), connection.text("tenant_id", "tenant", "workload_identity_tenant_id")
    identity = connection.text("identity")
    if identity and identity not in IDENTITIES:
        raise DataError(f"{told_by}: extra identity is {identity!r}, expected one of {', '.join(IDENTITIES)}.")
    client = connection.text("managed_identity_client_id")
    endpoint = string.get("BlobEndpoint") or _endpoint(connection)
    account = string.get("AccountName") or connection.text("account_name") or connection.login
    if identity or client:
        kind: Kind = identity or "managed"
        return Access(told_by, kind, client_id=client or connection.login, tenant_id=tenant, endpoint=endpoint)
    if tenant:
        return _principal(connection, tenant, endpoint)
    sas = string.get("SharedAccessSignature") or connection.text("sas_token")
    if sas:
        return Access(told_by, "sas", account=account, endpoint=endpoint, secret=sas.lstrip("?"))
    key = string.get("AccountKey") or connection.text("account_key", "shared_access_key") or connection.password
    if key:
        return Access(told_by, "key", account=account, endpoint=endpoint, secret=key)
    return Access(told_by, "managed", client_id=connection.login, endpoint=endpoint)


def deltalake_options(connection: Connection) -> dict[str, str]:
    """Options of deltalake's Azure client; tokens are asked for and refreshed by that client itself."""
    access = access_of(connection)
    options = {
        "azure_client_id": access.client_id,
        "azure_tenant_id": access.tenant_id,
        "azure_authority_host": access.authority,
        "azure_storage_endpoint": access.endpoint,
        "azure_storage_account_name": access.account if access.endpoint else None,
        "allow_http": "true" if access.endpoint and access.endpoint.startswith("http://") else None,
        "azure_msi_endpoint": environment.identity_endpoint() if access.kind == "managed" else None,
        "azure_use_azure_cli": "true" if access.kind == "cli" else None,
        {"principal": "azure_client_secret", "sas": "azure_storage_sas_token"}.get(
            access.kind, "azure_storage_account_key"
        ): access.secret or None,
    }
    return {name: value for name, value in options.items() if value}


def sdk_credential(connection: Connection) -> Any:
    """The same as a credential of the Azure SDK: a token, SAS or key credential."""
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential

    access = access_of(connection)
    if access.kind == "sas":
        return AzureSasCredential(access.secret)
    if access.kind != "key":
        return token_credential(connection)
    if not access.account:
        raise DataError(f"{connection}: an account key needs the account's name as login.")
    return AzureNamedKeyCredential(access.account, access.secret)


def token_credential(connection: Connection) -> TokenCredential:
    """An identity that gives tokens. Raises DataError when the connection holds a SAS or a key instead."""
    from azure import identity

    access = access_of(connection)
    if access.kind == "cli":
        return identity.AzureCliCredential(tenant_id=access.tenant_id or "")
    if access.kind == "workload":
        return identity.WorkloadIdentityCredential(client_id=access.client_id, tenant_id=access.tenant_id)
    if access.kind == "managed":
        return identity.ManagedIdentityCredential(client_id=access.client_id)
    if access.kind == "principal":
        authority = {"authority": access.authority} if access.authority else {}
        return identity.ClientSecretCredential(str(access.tenant_id), str(access.client_id), access.secret, **authority)
    raise DataError(f"{connection}: expected an identity (managed, service principal), found a {access.kind}.")


def _principal(connection: Connection, tenant: str, endpoint: str | None) -> Access:
    if not (connection.login and connection.password):
        raise DataError(
            f"{connection}: extra tenant_id means a service principal: expected its client id as login and its secret "
            "as password."
        )
    return Access(
        str(connection),
        "principal",
        client_id=connection.login,
        tenant_id=tenant,
        endpoint=endpoint,
        authority=connection.text("authority_host"),
        secret=connection.password,
    )


def _parts(connection: Connection) -> dict[str, str]:
    """The fields of a connection string, if there is one."""
    text = connection.text("connection_string")
    if not text:
        return {}
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    if not {"AccountKey", "SharedAccessSignature"} & parts.keys():
        raise DataError(f"{connection}: the connection string has neither AccountKey nor SharedAccessSignature.")
    return parts


def _endpoint(connection: Connection) -> str | None:
    """An address is needed for an emulator and for names of one's own; Azure's follow from the account."""
    given = connection.text("endpoint") or ""
    if not given and connection.host and connection.host.startswith("http://"):
        given = connection.host
        if connection.port and not given.rstrip("/").endswith(f":{connection.port}"):
            given = f"{given}:{connection.port}"
        if connection.schema and connection.schema not in given:
            given = f"{given}/{connection.schema}"
    return given.rstrip("/") or None
