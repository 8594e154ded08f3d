"""Azurite: the Blob service of an Azure storage account."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient

from tests.services import downloads
from tests.services.certificates import Certificate
from tests.services.programs import LOOPBACK, Programs, free_port, secret

NAME = "azurite"
ACCOUNT = "myfeast"


@dataclass
class Azurite:
    """A running account; `key` is its base64 key, `blob_url` has the account as its first folder."""

    port: int
    account: str
    key: str = field(repr=False)
    programs: Programs = field(repr=False)
    scheme: str = "http"

    @property
    def blob_url(self) -> str:
        """The Blob endpoint: http://127.0.0.1:port/account."""
        return f"{self.scheme}://{LOOPBACK}:{self.port}/{self.account}"

    @property
    def connection_string(self) -> str:
        """As the portal shows it; holds the key."""
        parts = {
            "DefaultEndpointsProtocol": self.scheme,
            "AccountName": self.account,
            "AccountKey": self.key,
            "BlobEndpoint": self.blob_url,
        }
        return ";".join(f"{name}={value}" for name, value in parts.items()) + ";"

    @property
    def storage_options(self) -> dict[str, str]:
        """What deltalake needs to reach abfss://<container>@<account>.dfs.core.windows.net/ here."""
        return {
            "azure_storage_account_name": self.account,
            "azure_storage_account_key": self.key,
            "azure_storage_endpoint": self.blob_url,
            "allow_http": str(self.scheme == "http").lower(),
        }

    def container(self, name: str) -> str:
        """Make a container; its abfss:// address."""
        with self.client() as client:
            client.create_container(name)
        return f"abfss://{name}@{self.account}.dfs.core.windows.net"

    def client(self, **options: Any) -> BlobServiceClient:
        """A client with the key."""
        return BlobServiceClient.from_connection_string(self.connection_string, **options)

    def answers(self) -> bool:
        """Whether the account lists its containers."""
        with self.client(retry_total=0, connection_timeout=2, read_timeout=5) as client:
            try:
                list(client.list_containers())
            except AzureError:
                return False
            return True


@contextlib.contextmanager
def azurite(folder: Path, *, certificate: Certificate | None = None) -> Iterator[Azurite]:
    """An empty account with a key of its own; https when it is given a certificate (which its client must trust)."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    port, key = free_port(), base64.b64encode(secret(NAME).encode()).decode()
    command = [
        *downloads.azurite(),
        "--blobHost",
        LOOPBACK,
        "--blobPort",
        str(port),
        "--location",
        str(folder / "data"),
    ]
    command += ["--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    if certificate:
        command += ["--cert", str(certificate.certificate), "--key", str(certificate.key)]
    # the key is told in the environment: a command line is for everybody to read
    variables = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}
    with Programs(folder) as programs:
        programs.start(NAME, command, environment=variables)
        server = Azurite(port, ACCOUNT, key, programs, "https" if certificate else "http")
        log = programs.log(NAME)
        ready = (lambda: "successfully listens" in log.read_text()) if certificate else server.answers
        programs.wait_until(ready, what="Azurite")
        yield server
