"""Taking a view's rows of earlier generations out of Redis, in bounded steps, under the claim of a rebuild."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
from redis import Redis

from feast_lakehouse.keys import key_prefix, key_project
from feast_lakehouse.record import RecordKeys
from feast_lakehouse.resp import Commands, drops
from feast_lakehouse.view import View

SCAN_COUNT = 1000
_GLOB = {ord(c): b"\\" + bytes([ord(c)]) for c in "*?[]\\"}


def key_pattern(view: View) -> bytes:
    """What SCAN matches to find the keys of the view's entity, in any project."""
    prefix = key_prefix([name for name, _ in view.keys])
    return b"".join(_GLOB.get(byte, bytes([byte])) for byte in prefix) + b"*"


def keys_of(client: Redis, view: View) -> Iterator[bytes]:
    """Every Redis key of the view's entity in its project (not only those that have the view's fields); may repeat."""
    project = view.project.encode()
    return (key for key in client.scan_iter(key_pattern(view), count=SCAN_COUNT) if key_project(key) == project)


def others_than(client: Redis, view: View, keys: int) -> bool:
    """Whether the database may have keys besides `keys` keys of the view that are known to be there, and its bookkeeping."""
    bookkeeping: Any = client.exists(*RecordKeys.of(view).all())
    size: Any = client.dbsize()
    return int(size) > keys + int(bookkeeping)


def sweep_commands(client: Redis, view: View, fields: Sequence[bytes] = ()) -> Iterator[Commands]:
    """Drops of these fields (unless told, of the view's) for every key of the entity, a bounded number at a time.

    What is dropped is the writer's decision.
    """
    keys = keys_of(client, view)
    while chunk := list(islice(keys, SCAN_COUNT)):
        yield drops(view, pa.array(dict.fromkeys(chunk), pa.binary()), fields)
