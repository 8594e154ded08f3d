"""What one materialization has to do: which files of which versions, and whether a new generation must begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow.fs as pafs

from feast_lakehouse.delta import TableRef, TableState
from feast_lakehouse.errors import DataError, VersionUnavailable
from feast_lakehouse.files import Files
from feast_lakehouse.newest import Memory, NewestRows
from feast_lakehouse.record import Record
from feast_lakehouse.server import Server
from feast_lakehouse.view import View


@dataclass(frozen=True)
class Plan:
    """A decision, taken without writing anything.

    `rebuild` says why a new generation begins (empty: none does). `added` are paths of the target version that Redis
    may lack; `removed` maps each version of `bases` to the paths it has and the target has not.
    """

    ref: TableRef
    target: TableState
    intent: Record
    rebuild: str
    added: frozenset[str]
    removed: Mapping[int, frozenset[str]]
    bases: tuple[TableState, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        """Whether Redis already holds the target wholly."""
        return (
            not self.rebuild
            and self.intent.held == self.target.version
            and self.intent.attempted == {self.target.version}
        )

    def newest_rows(self, view: View, memory: Memory) -> NewestRows:
        """Questions about the rows of these files."""
        removed = [
            Files(self.ref, base, self.removed[base.version]) for base in self.bases if self.removed[base.version]
        ]
        added = None if self.rebuild else Files(self.ref, self.target, self.added)
        return NewestRows(view, memory, whole=Files.whole(self.ref, self.target), added=added, removed=removed)


def plan(view: View, ref: TableRef, record: Record | None, server: Server, *, force: str = "") -> Plan:
    """Compare the table's newest version with every version Redis holds or has begun to hold.

    `force` is a reason to rebuild found elsewhere, for example rows missing in Redis.
    """
    target = ref.state()
    reason = force or _why_rebuild(view, record, target, server)
    if not reason and record is not None:
        try:
            return _incremental(ref, target, record, server)
        except VersionUnavailable as error:
            reason = str(error)
    former = record.fields if record else frozenset()
    return _rebuild(view, ref, target, _new_generation(record, server), reason, former)


def _why_rebuild(view: View, record: Record | None, target: TableState, server: Server) -> str:
    if record is None:
        return "Redis has no record of the view"
    lost = server.evicted - record.evicted if server.replid == record.replid else 0
    known = record.attempted | ({record.held} if record.held is not None else set())
    restarted = record.replid not in ("", server.replid)
    reasons = {
        f"the table was created anew (id {target.table_id}, Redis holds {record.table_id})": record.table_id
        != target.table_id,
        "the view's schema or ttl changed": record.layout != view.layout,
        "an earlier rebuild did not finish": record.held is None,
        "Redis was started anew in the middle of a run": restarted and bool(record.attempted),
        f"the table went back to version {target.version}, Redis knows a later one": max(known, default=0)
        > target.version,
        f"Redis evicted {lost} keys": lost > 0,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _new_generation(record: Record | None, server: Server) -> int:
    return max(record.generation + 1 if record else 0, server.time_micros)


def _incremental(ref: TableRef, target: TableState, record: Record, server: Server) -> Plan:
    held = record.held
    if held is None:
        raise DataError(f"{ref.uri}: an incremental plan needs a held version.")
    bases = {base: target if base == target.version else ref.state(base) for base in record.attempted | {held}}
    for version, base in bases.items():
        if record.files.get(version, base.fingerprint) != base.fingerprint:
            raise VersionUnavailable(
                f"{ref.uri}: version {version} is made of other files than when Redis was filled from it"
            )
    added = frozenset().union(*(target.files.keys() - base.files.keys() for base in bases.values()))
    removed = {version: frozenset(base.files.keys() - target.files.keys()) for version, base in bases.items()}
    _check_present(ref, frozenset().union(*removed.values()))
    files = {**record.files, target.version: target.fingerprint}
    attempted = record.attempted | {target.version}
    intent = replace(record, attempted=attempted, files=files, replid=server.replid, evicted=server.evicted)
    return Plan(ref, target, intent, "", added, removed, tuple(bases.values()))


def _check_present(ref: TableRef, paths: frozenset[str]) -> None:
    for info in ref.filesystem().get_file_info(sorted(paths)) if paths else ():
        if info.type != pafs.FileType.File:
            raise VersionUnavailable(f"{ref.uri}: {info.path}, which Redis may still show, was vacuumed")


def _rebuild(
    view: View, ref: TableRef, target: TableState, generation: int, reason: str, former: frozenset[bytes]
) -> Plan:
    intent = Record(
        generation,
        target.table_id,
        view.layout,
        None,
        frozenset({target.version}),
        files={target.version: target.fingerprint},
        fields=former.union(view.fields),
    )
    return Plan(ref, target, intent, reason, frozenset(target.files), {})
