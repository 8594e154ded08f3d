"""Addresses of storage: which schemes there are, whether a NameNode answers at all, and how long a cloud account may take."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from feast_lakehouse.errors import DataError, TransportError

SCHEMES: Final = frozenset(
    {"", "file", "hdfs", "viewfs", "abfs", "abfss", "az", "azure", "adl", "s3", "s3a", "gs", "memory"}
)
"""What deltalake can open. It takes any other scheme for storage in which no table exists, without a word."""

INSTEAD: Final = {
    "webhdfs": "hdfs://<namenode>:8020/<folder> (the RPC port, not the web port)",
    "swebhdfs": "hdfs://<namenode>:8020/<folder> (the RPC port, not the web port)",
    "wasb": "abfss://<container>@<account>.dfs.core.windows.net/<folder>",
    "wasbs": "abfss://<container>@<account>.dfs.core.windows.net/<folder>",
    "http": "abfss://<container>@<account>.dfs.core.windows.net/<folder>",
    "https": "abfss://<container>@<account>.dfs.core.windows.net/<folder>",
}
AZURE: Final = frozenset({"abfs", "abfss", "az", "azure", "adl"})
AZURE_PATIENCE: Final = {"connect_timeout": "3s", "retry_timeout": "20s"}
"""deltalake's own are 5 s and 3 minutes: a name with a typing error would keep a worker that long."""

CONNECT_SECONDS: Final = 5.0


def scheme_of(uri: str) -> str:
    """The scheme of an address, in lower case; empty for a path."""
    head, separator, _ = uri.partition("://")
    return head.lower() if separator else ""


def check_address(uri: str, *, place: str = "") -> None:
    """Raises DataError for a scheme that cannot be opened, and for hdfs:// and abfss:// without a host."""
    scheme = scheme_of(uri)
    where = f"{uri} ({place})" if place else uri
    if scheme not in SCHEMES:
        expected = INSTEAD.get(scheme, "file://, hdfs:// or abfss://")
        raise DataError(f"{where}: unknown file system scheme {scheme!r}. Expected {expected}.")
    if scheme in {"hdfs", "viewfs", "abfs", "abfss"} and not urlsplit(uri).hostname:
        raise DataError(f"{where}: expected a host after {scheme}://, as in {_example(scheme)}.")


def _example(scheme: str) -> str:
    if scheme.startswith("abfs"):
        return "abfss://lake@account.dfs.core.windows.net/folder"
    return "hdfs://namenode:8020/folder"


def require_namenode(uri: str, *, place: str = "") -> None:
    """Raises TransportError within seconds when nothing listens at the host and port of an hdfs:// address.

    hdfs-native itself would wait as long as the kernel does, minutes. A name service (no port) is left to it.
    """
    parts = urlsplit(uri)
    if parts.scheme != "hdfs" or parts.port is None or parts.hostname is None:
        return
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise TransportError(
            f"{uri}{f' ({place})' if place else ''}: no NameNode answers at {parts.hostname}:{parts.port}: {error}. "
            "Is the address right, does the NameNode run, and may this machine reach its RPC port (usually 8020)?"
        ) from None


def patient_options(uri: str, options: Mapping[str, str]) -> dict[str, str] | None:
    """The options as deltalake takes them, with bounded patience; None when there are none."""
    defaults = AZURE_PATIENCE if scheme_of(uri) in AZURE else {}
    return {**defaults, **options} or None
