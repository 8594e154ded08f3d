"""One materialization: bring what changed between two table versions into Redis, exactly once, whatever happens meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import pyarrow as pa
from redis import Redis

from feast_lakehouse import record
from feast_lakehouse.delta import TableRef
from feast_lakehouse.encoding import MICROS
from feast_lakehouse.errors import LostClaim, TransportError
from feast_lakehouse.guard import LANES, GuardedWriter, Tally
from feast_lakehouse.newest import Memory, NewestRows
from feast_lakehouse.newest_wins import Rule
from feast_lakehouse.pace import Pace
from feast_lakehouse.plan import Plan, plan
from feast_lakehouse.readers import Readers
from feast_lakehouse.record import Claim, Seen
from feast_lakehouse.resp import Commands, encode_drops, encode_writes
from feast_lakehouse.scan import readable
from feast_lakehouse.server import Server
from feast_lakehouse.sweep import others_than, sweep_commands
from feast_lakehouse.verify import QUICK_SAMPLE, what_is_lost
from feast_lakehouse.view import View
from feast_lakehouse.wire import borrow, reachable


def _ignore(*_: object) -> None:
    """The default for callbacks nobody asked for."""


@dataclass(frozen=True)
class Run:
    """How a materialization is carried out.

    `sample` is how many rows are compared with Redis before a run trusts the record (0: none). `attempts` is how often
    a run that loses its claim plans anew before it leaves the field to its caller. `step` is called before each write
    that others can see, with its name; `progress` with the keys settled so far and the most there can be.
    """

    pace: Pace = field(default_factory=Pace)
    memory: Memory = field(default_factory=Memory)
    attempts: int = 6
    sample: int = QUICK_SAMPLE
    step: Callable[[str], None] = _ignore
    progress: Callable[[int, int], None] = _ignore


@dataclass(frozen=True)
class MaterializationReport:
    """What one materialization did. `version` is the table version Redis holds now; `reason` says why all was rewritten, if it was.

    `rows_read` counts rows of added files, `keys_written` and `retracted` keys changed in Redis, `kept` keys for which
    Redis already had something at least as new; `early` keys that lost a row younger, before the newest event time,
    than the view's ttl. `first` and `newest` are event times of the table, µs since 1970 UTC. Of the `seconds` it took,
    it spent `rested` making way for readers.
    """

    view: str
    version: int
    changed: bool
    generation: int
    reason: str = ""
    rows_read: int = 0
    keys_written: int = 0
    retracted: int = 0
    kept: int = 0
    early: int = 0
    first: int | None = None
    newest: int | None = None
    seconds: float = 0.0
    rested: float = 0.0


def materialize_view(
    client: Redis, view: View, ref: TableRef, *, run: Run | None = None, rebuild: str = ""
) -> MaterializationReport:
    """Make Redis hold the newest version of the table. `rebuild` is a reason to write every key again.

    Raises DataError for what trying again cannot help, TransportError (LostClaim among them) for what it can.
    """
    run, started = run or Run(), time.monotonic()
    for attempt in range(1, run.attempts + 1):
        try:
            with reachable(f"materializing {view.name}"), readable(ref.uri):
                report = _once(client, view, ref, run, rebuild)
            return replace(report, seconds=time.monotonic() - started)
        except LostClaim:
            if attempt == run.attempts:
                raise
            _refuse_deleted(client, view)
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)  # noqa: S311 — two runs must not keep taking turns
    raise AssertionError


def _refuse_deleted(client: Redis, view: View) -> None:
    """The caller has to look whether the view is still wanted: this run would bring all of a deleted one back."""
    with reachable(f"materializing {view.name}"):
        if record.read(client, view).record is None:
            raise TransportError(
                f"{view.name}: the view was taken out of Redis while this run was at work (deleted, or the server was "
                f"emptied). If it is still in the registry, materialize again."
            )


def _once(client: Redis, view: View, ref: TableRef, run: Run, rebuild: str) -> MaterializationReport:
    server = Server.of(client)
    server.refuse_eviction()
    seen = record.read(client, view)
    todo = plan(view, ref, seen.record, server, force=rebuild)
    if not todo.rebuild and (
        lost := what_is_lost(client, view, ref, seen, server, memory=run.memory, sample=run.sample)
    ):
        todo = plan(view, ref, seen.record, server, force=lost)
    if todo.nothing_to_do:
        return _unchanged(client, view, seen, server, todo)
    readers = Readers(client) if run.pace.readers_first else None
    memory = replace(run.memory, threads=1) if readers and server.busy else run.memory
    with ExitStack() as stack, todo.newest_rows(view, memory) as rows:
        span = _span(todo, rows)  # before the claim: it refuses event times that nobody could read back
        run.step("claim")
        claim = record.take_claim(client, view, seen, todo.intent, todo.target.version)
        wires = [stack.enter_context(borrow(client)) for _ in range(LANES)]
        writer = GuardedWriter(wires, view, claim, pace=run.pace, step=run.step, readers=readers)
        _write(client, view, todo, rows, writer, run)
        early = 0 if todo.rebuild else rows.retracted_since(_oldest_served(view, span))
    run.step("done")
    first, newest = span or (None, None)
    done = replace(
        todo.intent,
        held=todo.target.version,
        attempted=frozenset(),
        replid=server.replid,
        evicted=server.evicted,
        first=first,
        newest=newest,
        files={todo.target.version: todo.target.fingerprint},
        fields=frozenset(view.fields),
    )
    record.finish(client, view, claim, done)
    report = _report(view, todo, writer.tally, claim, span)
    return replace(report, early=early, rested=readers.rested if readers else 0.0)


def _span(todo: Plan, rows: NewestRows) -> tuple[int, int] | None:
    """Least and greatest event time of the target, from what changed alone unless an outermost row was removed."""
    first, newest = todo.intent.first, todo.intent.newest
    if todo.rebuild or first is None or newest is None:
        return rows.span()
    added, removed = rows.spans_of_change()
    least, greatest = added or (newest + 1, first - 1)
    if removed and ((removed[0] <= first < least) or (removed[1] >= newest > greatest)):
        return rows.span()
    return min(first, least), max(newest, greatest)


def _oldest_served(view: View, span: tuple[int, int] | None) -> int:
    """The least event time that is served as of the newest one, µs since 1970 UTC."""
    return span[1] - int(view.ttl_seconds * MICROS) if span and view.ttl_seconds else -(2**63)


def _unchanged(client: Redis, view: View, seen: Seen, server: Server, todo: Plan) -> MaterializationReport:
    """Redis holds the version already; if its server was restarted meanwhile and nothing is lost, remember the new one."""
    if seen.record is not None and (seen.record.replid, seen.record.evicted) != (server.replid, server.evicted):
        claim = record.take_claim(client, view, seen, seen.record, todo.target.version)
        record.finish(client, view, claim, replace(seen.record, replid=server.replid, evicted=server.evicted))
    newest = seen.record.newest if seen.record else None
    return MaterializationReport(
        view.name, todo.target.version, changed=False, generation=todo.intent.generation, newest=newest
    )


def _write(client: Redis, view: View, todo: Plan, rows: NewestRows, writer: GuardedWriter, run: Run) -> None:
    most = _rows(todo)

    def writes(batches: Iterator[pa.RecordBatch]) -> Iterator[Commands]:
        for batch in batches:
            yield encode_writes(view, batch, generation=todo.intent.generation, version=todo.target.version + 1)
            run.progress(writer.tally.written + writer.tally.kept, most)

    if todo.rebuild:
        writer.write(writes(rows.every()), Rule.SETTLE)
        if others_than(client, view, writer.tally.written + writer.tally.kept):
            writer.write(sweep_commands(client, view), Rule.SWEEP)
        if former := sorted(todo.intent.fields.difference(view.fields)):
            writer.write(sweep_commands(client, view, former), Rule.FORGET)
        return
    if rows.find_retractions():
        writer.write(writes(rows.settled()), Rule.SETTLE)
        writer.write((encode_drops(view, batch) for batch in rows.gone()), Rule.DROP)
    writer.write(writes(rows.changed()), Rule.NEWEST)


def _rows(todo: Plan) -> int:
    return sum(todo.target.files[path].rows or 0 for path in todo.added)


def _report(view: View, todo: Plan, tally: Tally, claim: Claim, span: tuple[int, int] | None) -> MaterializationReport:
    return MaterializationReport(
        view.name,
        todo.target.version,
        changed=True,
        generation=claim.generation,
        reason=todo.rebuild,
        rows_read=_rows(todo),
        keys_written=tally.written,
        retracted=tally.dropped,
        kept=tally.kept,
        first=span[0] if span else None,
        newest=span[1] if span else None,
    )
