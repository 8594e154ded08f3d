"""Where the registry's tests keep it: a local file, or a blob of Azurite."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.core.credentials import AzureNamedKeyCredential
from feast.infra.registry.registry import Registry
from feast.repo_config import RegistryConfig

from tests.services.azurite import Azurite

PROJECT = "my_feast"
CONTAINER = "registry"
_numbers = itertools.count()
_accounts: list[Azurite] = []


def credential() -> AzureNamedKeyCredential:
    """What registry.credentials names; the forked processes of a test have it too."""
    return AzureNamedKeyCredential(_accounts[-1].account, _accounts[-1].key)


@dataclass(frozen=True)
class Place:
    """`path` as in registry.path; the blob's account, or None for a file. Same in every process of a test."""

    path: str
    folder: Path
    account: Azurite | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The registry's part of the yaml."""
        if self.account is None:
            return {"registry_store_type": "feast_lakehouse.registry_store.LocalRegistryStore", "path": self.path}
        return {
            "registry_store_type": "feast_lakehouse.blob_registry_store.BlobRegistryStore",
            "path": self.path,
            "credentials": f"{__name__}.credential",
        }

    def registry(self, *, ttl: int = 0) -> Registry:
        """A registry with a cache of its own, as every process has one. ttl 0: the cache never expires by itself."""
        config = RegistryConfig(**self.config, cache_ttl_seconds=ttl, cache_mode="thread")
        return Registry(PROJECT, config, self.folder)

    def content(self) -> bytes | None:
        """The bytes that are stored, None when there are none."""
        if self.account is None:
            return Path(self.path).read_bytes() if Path(self.path).exists() else None
        with self._blob() as blob:
            return bytes(blob.download_blob().readall()) if blob.exists() else None

    def write(self, content: bytes) -> None:
        """Somebody writes something else there."""
        if self.account is None:
            Path(self.path).write_bytes(content)
        else:
            with self._blob() as blob:
                blob.upload_blob(content, overwrite=True)

    def mark(self) -> object:
        """Another one after every write."""
        if self.account is None:
            found = Path(self.path).stat()
            return found.st_ino, found.st_mtime_ns
        with self._blob() as blob:
            return blob.get_blob_properties().etag

    @contextmanager
    def _blob(self) -> Iterator[Any]:
        assert self.account
        with self.account.client() as client:
            yield client.get_blob_client(CONTAINER, self.path.rpartition("/")[2])


def local(folder: Path) -> Place:
    """A file that is not there yet."""
    return Place(str(folder / "registry.db"), folder)


def blob(folder: Path, account: Azurite) -> Place:
    """A blob that is not there yet."""
    if account not in _accounts:
        _accounts.append(account)
        account.container(CONTAINER)
    return Place(f"{account.blob_url}/{CONTAINER}/registry{next(_numbers)}.db", folder, account)
