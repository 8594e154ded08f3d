"""What Redis knows about itself: per view one record of the table versions it holds, and the claim of the run at work.

Keys (format 1): `feast_lakehouse:<project>/<view>:record` a hash, `…:claim` the token of the run that may write,
`…:pushes` a counter of pushes, `…:keys` the number of keys that carry the current generation.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import Redis, WatchError

from feast_lakehouse.errors import DataError, LostClaim
from feast_lakehouse.view import View

FORMAT = 1


@dataclass(frozen=True)
class RecordKeys:
    """Names of a view's bookkeeping keys in Redis."""

    record: bytes
    claim: bytes
    pushes: bytes
    count: bytes

    @classmethod
    def of(cls, view: View) -> RecordKeys:
        """The keys of a view. Feast allows neither `/` nor `:` in these names, so no two views share a key."""
        stem = f"feast_lakehouse:{view.project}/{view.name}:"
        return cls(*((stem + name).encode() for name in ("record", "claim", "pushes", "keys")))

    def all(self) -> tuple[bytes, ...]:
        """Every bookkeeping key."""
        return (self.record, self.claim, self.pushes, self.count)


@dataclass(frozen=True)
class Record:
    """What one view's part of Redis holds.

    `held` is the table version it holds wholly (None: none yet in this generation), `attempted` the versions some run
    began to write and has not finished. `replid` and `evicted` are the server's replication id and count of evicted
    keys when a run last claimed the view; `first` and `newest` are the least and greatest event time of `held`, µs
    since 1970 UTC. `files` maps these versions to the fingerprints of their file lists: a table that was restored from
    a backup counts up through the same numbers again with other files. `fields` are the hash fields of the features
    that rows of this or an earlier layout may still have.
    """

    generation: int
    table_id: str
    layout: str
    held: int | None
    attempted: frozenset[int]
    replid: str = ""
    evicted: int = 0
    first: int | None = None
    newest: int | None = None
    files: Mapping[int, str] = field(default_factory=dict)
    fields: frozenset[bytes] = frozenset()

    def to_hash(self) -> dict[str, str]:
        """As Redis hash fields."""
        return {
            "format": str(FORMAT),
            "generation": str(self.generation),
            "table_id": self.table_id,
            "layout": self.layout,
            "held": "" if self.held is None else str(self.held),
            "attempted": ",".join(str(v) for v in sorted(self.attempted)),
            "replid": self.replid,
            "evicted": str(self.evicted),
            "first": "" if self.first is None else str(self.first),
            "newest": "" if self.newest is None else str(self.newest),
            "files": ",".join(f"{version}={fingerprint}" for version, fingerprint in sorted(self.files.items())),
            "fields": ",".join(sorted(each.hex() for each in self.fields)),
        }

    @classmethod
    def from_hash(cls, fields: Mapping[bytes, bytes], key: bytes) -> Record | None:
        """From Redis hash fields; None for an absent record. Raises DataError for a format this code does not know."""
        if not fields:
            return None
        text = {name.decode(): value.decode() for name, value in fields.items()}
        if text.get("format") != str(FORMAT):
            raise DataError(
                f"{key.decode()}: expected record format {FORMAT}, found {text.get('format')!r}. "
                "A newer release wrote it: upgrade this one, or delete the key to rebuild the view online."
            )
        return cls(
            int(text["generation"]),
            text["table_id"],
            text["layout"],
            _int(text["held"]),
            frozenset(int(v) for v in text["attempted"].split(",") if v),
            text["replid"],
            int(text["evicted"]),
            _int(text.get("first", "")),
            _int(text["newest"]),
            _fingerprints(text.get("files", "")),
            frozenset(bytes.fromhex(each) for each in text.get("fields", "").split(",") if each),
        )


def _fingerprints(text: str) -> dict[int, str]:
    pairs = (pair.split("=") for pair in text.split(",") if pair)
    return {int(version): fingerprint for version, fingerprint in pairs}


def _int(text: str) -> int | None:
    return int(text) if text else None


@dataclass(frozen=True)
class Seen:
    """A record and the claim token beside it, as one read found them."""

    record: Record | None
    token: bytes | None


@dataclass(frozen=True)
class Claim:
    """The right of one run to write one view, for as long as its token stays in Redis."""

    token: bytes
    generation: int
    target: int


def read(client: Redis, view: View) -> Seen:
    """The view's record and claim token."""
    keys = RecordKeys.of(view)
    pipe: Any
    with client.pipeline(transaction=True) as pipe:
        pipe.hgetall(keys.record)
        pipe.get(keys.claim)
        fields, token = pipe.execute()
    return Seen(Record.from_hash(fields, keys.record), token)


def take_claim(client: Redis, view: View, seen: Seen, intent: Record, target: int) -> Claim:
    """Put a fresh token and the intent (the target among `attempted`) into Redis, if nothing moved since `seen`.

    Raises LostClaim when another run moved first.
    """
    keys = RecordKeys.of(view)
    claim = Claim(secrets.token_bytes(16), intent.generation, target)
    fresh = seen.record is None or seen.record.generation != intent.generation

    def change(pipe: Any) -> None:
        pipe.hset(keys.record, mapping=intent.to_hash())
        pipe.set(keys.claim, claim.token)
        if fresh:
            pipe.set(keys.count, 0)

    _compare_and_set(client, view, seen, change)
    return claim


def finish(client: Redis, view: View, claim: Claim, outcome: Record) -> None:
    """Let the claim's holder alone move `held` and give the claim back. Raises LostClaim when it is no longer the holder."""
    keys = RecordKeys.of(view)
    seen = read(client, view)
    if seen.token != claim.token:
        raise LostClaim(f"{view.name}: another run took over before version {claim.target} was recorded.")

    def change(pipe: Any) -> None:
        pipe.hset(keys.record, mapping=outcome.to_hash())
        pipe.delete(keys.claim)

    _compare_and_set(client, view, seen, change)


def drop(client: Redis, view: View) -> None:
    """Forget the view: without a record the next run rebuilds it, and every run at work loses its claim."""
    client.delete(*RecordKeys.of(view).all())


def _compare_and_set(client: Redis, view: View, seen: Seen, change: Any) -> None:
    keys = RecordKeys.of(view)
    moved = LostClaim(f"{view.name}: another run moved the record at the same moment.")
    pipe: Any
    with client.pipeline(transaction=True) as pipe:
        pipe.watch(keys.record, keys.claim)
        if Seen(Record.from_hash(pipe.hgetall(keys.record), keys.record), pipe.get(keys.claim)) != seen:
            raise moved
        pipe.multi()
        change(pipe)
        try:
            pipe.execute()
        except WatchError:
            raise moved from None
