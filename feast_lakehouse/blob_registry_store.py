"""A Feast registry in Azure Blob Storage that any number of machines can apply to and read: ETags decide who was first."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from feast.repo_config import RegistryConfig

from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.merging_registry import MergingRegistryStore, Stored
from feast_lakehouse.named import function_at, origin_of
from feast_lakehouse.storage_errors import storage_error

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.storage.blob import BlobClient

_requests = logging.getLogger(f"{__name__}.requests")
_requests.setLevel(logging.WARNING)  # else the SDK tells each request and answer, 16 lines a time, in every task's log

PATIENCE: Final[dict[str, Any]] = {
    "connection_timeout": 5,
    "read_timeout": 30,
    "retry_total": 3,
    "initial_backoff": 1,
    "increment_base": 1,
    "random_jitter_range": 1,
}
"""Seconds, and tries after the first: a name with a typing error is told in half a minute at most."""

BLOB_NOT_FOUND: Final = "BlobNotFound"
FASTER: Final = frozenset({"ConditionNotMet", "TargetConditionNotMet", "BlobAlreadyExists"})
"""Another writer was there first. A lease, and a policy that forbids changes, are other refusals of the same status."""


@dataclass(frozen=True)
class BlobAddress:
    """A blob's URL in its three parts; the account's URL ends with the account's name where that is in the path."""

    account_url: str
    container: str
    blob: str

    @classmethod
    def parse(cls, url: str) -> BlobAddress:
        """https://<account>.blob.core.windows.net/<container>/<blob>, or an emulator's http://<host>/<account>/<container>/<blob>.

        Raises DataError for anything else, and for a URL that carries a SAS.
        """
        parts = urlsplit(url)
        folders = [unquote(folder) for folder in parts.path.split("/") if folder]
        inside = [] if ".blob." in (parts.hostname or "") else folders[:1]
        container, *names = folders[len(inside) :] or [""]
        if parts.scheme not in {"http", "https"} or not parts.hostname or not container or not names:
            raise DataError(
                f"registry.path: expected https://<account>.blob.core.windows.net/<container>/<blob>, found "
                f"{parts.scheme}://{parts.hostname}{parts.path}."
            )
        if parts.query or parts.username:
            raise DataError("registry.path: expected no credential in it; registry.credentials gives a SAS or a key.")
        return cls("/".join([f"{parts.scheme}://{parts.netloc}", *inside]), container, "/".join(names))


class BlobRegistryStore(MergingRegistryStore):
    """Feast's registry in a blob: `registry_store_type: feast_lakehouse.blob_registry_store.BlobRegistryStore`.

    Every write is conditional on the ETag that was read (or on no blob being there); when it is refused, the registry is
    read and merged again (see MergingRegistryStore). `path` is the blob's URL. `credentials` names a function
    `module.function` without arguments that returns what the Azure SDK takes: a token credential, AzureSasCredential,
    AzureNamedKeyCredential, or the text of a SAS, a key or a connection string; without it, DefaultAzureCredential is
    used. It is asked when the registry is first read. Needs the package azure-storage-blob.
    """

    kind = "blob"

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:  # noqa: ARG002 - Feast gives it
        super().__init__()
        self._address = BlobAddress.parse(registry_config.path)
        self._credentials = (registry_config.model_extra or {}).get("credentials")
        self._origin = "DefaultAzureCredential"
        self._client: BlobClient | None = None
        self._last: Stored | None = None
        self.place = registry_config.path.partition("?")[0]

    def _expected(self) -> Stored:
        return self._last or self._read()

    def _read(self) -> Stored:
        from azure.core.exceptions import ResourceNotFoundError

        with self._reported("cannot be read"):
            try:
                download = self._blob().download_blob(max_concurrency=1)
                self._last = Stored(self._parsed(download.readall()), str(download.properties.etag))
            except ResourceNotFoundError as error:
                if _code(error) != BLOB_NOT_FOUND:
                    raise
                self._last = Stored(None)
        return self._last

    def _swap(self, content: bytes, seen: Stored) -> bool:
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

        condition: dict[str, Any] = {"overwrite": False}
        if seen.tag is not None:
            condition = {"overwrite": True, "etag": seen.tag, "match_condition": MatchConditions.IfNotModified}
        with self._reported("cannot be written"):
            try:
                answer = self._blob().upload_blob(content, **condition)
            except (ResourceExistsError, ResourceModifiedError) as error:
                if _code(error) not in FASTER:
                    raise
                self._last = None
                return False
        self._last = Stored(self._parsed(content), str(answer["etag"]))
        return True

    def _remove(self) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        self._last = None
        with self._reported("cannot be removed"):
            try:
                self._blob().delete_blob(delete_snapshots="include")
            except ResourceNotFoundError as error:
                if _code(error) != BLOB_NOT_FOUND:
                    raise

    def _blob(self) -> BlobClient:
        if self._client is None:
            self._client = _client(self._address, self._credential())
        return self._client

    def _credential(self) -> Any:
        if self._credentials:
            function = function_at(self._credentials, setting="registry.credentials")
            self._origin = origin_of(function) or self._credentials
            return function()
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()

    @contextmanager
    def _reported(self, doing: str) -> Iterator[None]:
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            yield
        except AzureError as error:
            refused = isinstance(error, ClientAuthenticationError)
            raise storage_error(
                self.place,
                f"the registry {doing}",
                error,
                place=f"registry, {self._origin}",
                otherwise=DataError if refused else TransportError,
            ) from None


def _code(error: AzureError) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code))


def _client(address: BlobAddress, credential: Any) -> BlobClient:
    from azure.storage.blob import BlobServiceClient

    try:
        if isinstance(credential, str) and "AccountName=" in credential:
            service = BlobServiceClient.from_connection_string(credential, logger=_requests, **PATIENCE)
        else:
            service = BlobServiceClient(address.account_url, credential=credential, logger=_requests, **PATIENCE)
    except ValueError as error:
        raise storage_error(
            address.account_url, "the registry's credential cannot be used", error, otherwise=DataError
        ) from None
    return service.get_blob_client(address.container, address.blob)
