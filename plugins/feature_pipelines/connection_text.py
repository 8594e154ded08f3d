"""Airflow connections as texts: the JSON and URI forms of AIRFLOW_CONN_<ID> variables, read without Airflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from feast_lakehouse.errors import DataError

_EXTRA_IN_QUERY = "__extra__"


@dataclass(frozen=True)
class Connection:
    """A connection's fields, None where it has none; `extra` is its JSON object. Secrets do not show in repr."""

    conn_id: str
    conn_type: str | None = None
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """What an error tells people to check."""
        return f"connection {self.conn_id}"

    def text(self, *names: str) -> str | None:
        """The first of these fields of `extra` that is there and not empty, as text."""
        return next((str(self.extra[name]) for name in names if self.extra.get(name) not in (None, "")), None)


def parse_connection(conn_id: str, text: str) -> Connection:
    """Raises DataError, which does not repeat the text, when it is neither Airflow's JSON nor its URI form."""
    try:
        return _from_json(conn_id, text) if text.lstrip().startswith("{") else _from_uri(conn_id, text)
    except (ValueError, TypeError, AttributeError):
        raise DataError(
            f"connection {conn_id}: AIRFLOW_CONN_{conn_id.upper()} is neither JSON such as "
            '{"conn_type": "redis", "login": "…", "password": "…", "extra": {}} nor a URI type://login:password@host:port/schema?extra=….'
        ) from None


def extra_object(extra: object) -> Mapping[str, Any]:
    """Airflow keeps `extra` as the text of a JSON object. Raises ValueError for anything else."""
    content = json.loads(extra) if isinstance(extra, str) and extra.strip() else extra or {}
    if not isinstance(content, Mapping):
        raise ValueError("extra is no JSON object")
    return content


def _from_json(conn_id: str, text: str) -> Connection:
    content = json.loads(text)
    port = content.get("port")
    return Connection(
        conn_id,
        **{name: content.get(name) for name in ("conn_type", "host", "login", "password", "schema")},
        port=int(port) if port else None,
        extra=extra_object(content.get("extra")),
    )


def _from_uri(conn_id: str, text: str) -> Connection:
    conn_type, separator, rest = text.strip().partition("://")
    if not separator:
        raise ValueError("no scheme")
    # A host may carry a protocol of its own: adls://https://login:password@account.blob.core.windows.net
    protocol, _, inner = rest.partition("://")
    nested = bool(inner) and protocol.isalnum()
    parts = urlsplit(f"//{inner if nested else rest}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    host = _host(parts)
    return Connection(
        conn_id,
        conn_type=conn_type,
        host=f"{protocol}://{host}" if nested else host,
        port=parts.port,
        login=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        schema=unquote(parts.path[1:]) or None,
        extra=extra_object(query.get(_EXTRA_IN_QUERY, query)),
    )


def _host(parts: SplitResult) -> str | None:
    """In lower case; a path in place of a host (percent-encoded) as it is written."""
    host = unquote(parts.hostname or "")
    if "/" in host:
        host = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])
    return host or None
