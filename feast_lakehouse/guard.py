"""Writing batches into Redis, atomically newest-wins, and only while the run still holds its claim.

Per chunk: WATCH the claim and the push counter, read the claim and each row's order, then MULTI, the writes, EXEC.
The EXEC of one chunk and the reads of the next travel together, so a chunk costs one round trip; a few connections take
turns, so that Redis and this process work at the same time. As long as Redis has none of the keys, as in a first run,
one EXISTS for a whole chunk stands for the reads of its rows. While others read, chunks are small, one at a time, with
rests in between.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from feast_lakehouse.chunks import Chunk, Lane, Pending
from feast_lakehouse.errors import LostClaim, TransportError
from feast_lakehouse.newest_wins import Mask, Rule, Stored, chosen, order_cells
from feast_lakehouse.pace import Pace
from feast_lakehouse.readers import NAME, Readers
from feast_lakehouse.record import Claim, RecordKeys
from feast_lakehouse.resp import Commands, command, wire, write_commands
from feast_lakehouse.view import View
from feast_lakehouse.wire import Wire

MULTI, EXEC, UNWATCH = command(b"MULTI"), command(b"EXEC"), command(b"UNWATCH")
LANES = 6
"""Connections. What is under way on them keeps Redis busy while the next batch is encoded here."""
MAX_CONFLICTS = 200
"""How often in a row pushes may overtake chunks before the run gives up and is tried again later."""


@dataclass
class Tally:
    """Rows written, rows dropped, and rows left alone because Redis held something newer."""

    written: int = 0
    dropped: int = 0
    kept: int = 0


class GuardedWriter:
    """Writes one view under one claim. Not thread-safe.

    Several wires are used in turn: while Redis works for one, the next chunk of another is decided and encoded here.
    `readers` are those to make way for, or None.
    """

    def __init__(
        self,
        wires: Sequence[Wire],
        view: View,
        claim: Claim,
        *,
        pace: Pace,
        step: Callable[[str], None],
        readers: Readers | None,
    ) -> None:
        for each in wires:
            each.send(command(b"CLIENT", b"SETNAME", NAME))
            each.acknowledged(1)
        self._lanes = deque(Lane(wire_) for wire_ in wires)
        self._view, self._claim, self._pace, self._step = view, claim, pace, step
        self._keys = RecordKeys.of(view)
        self._watch = command(b"WATCH", self._keys.claim, self._keys.pushes) + command(b"GET", self._keys.claim)
        self.tally = Tally()
        self._conflicts = self._given = self._settled = 0
        self._again: deque[Chunk] = deque()
        self._probing = True
        self._readers, self._read = readers, 0

    def write(self, batches: Iterable[Commands], rule: Rule) -> None:
        """Write (or drop) every batch under one rule.

        Raises LostClaim as soon as another run holds the claim; nothing is written after that.
        """
        chunks = self._chunks(batches, rule)
        self._given = self._settled = 0
        while True:
            if self._readers:
                self._make_way(self._readers)
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            if lane.busy:
                self._collect(lane)
            chunk = self._again.popleft() if self._again else next(chunks, None)
            if lane.pending or chunk:
                self._send(lane, chunk)
                continue
            self._end_what_is_under_way()
            if not self._again:
                break
        if self._settled != self._given:
            raise AssertionError(
                f"{self._view.name}: expected {self._given} rows to be settled, found {self._settled}. "
                "The version counts as begun, not as held: the next run starts from there."
            )

    def _make_way(self, readers: Readers) -> None:
        """Between a chunk's reads and its writes there is never a rest, in which a push would send it back."""
        if readers.due():
            self._collect_all()
            readers.look(self._read)
        if readers.present:
            self._end_what_is_under_way()
            readers.rest()

    def _collect_all(self) -> None:
        for lane in self._lanes:
            if lane.busy:
                self._collect(lane)

    def _end_what_is_under_way(self) -> None:
        """Afterwards no lane waits for a reply or has anything to send; what pushes overtook is to be written again."""
        self._collect_all()
        for lane in self._lanes:
            if lane.pending:
                self._send(lane, None)
        self._collect_all()

    def _chunks(self, batches: Iterable[Commands], rule: Rule) -> Iterator[Chunk]:
        started, rows = time.monotonic(), 0
        for commands in batches:
            stop = 0
            while (start := stop) < len(commands):
                among_readers = self._readers is not None and self._readers.present
                stop = min(start + self._pace.rows_of_a_chunk(self._view, among_readers=among_readers), len(commands))
                self._given += stop - start
                yield Chunk(commands, start, stop, rule, probe=self._probing)
                rows += stop - start
                if cap := self._pace.rows_per_second:
                    time.sleep(max(0.0, started + rows / cap - time.monotonic()))

    def _send(self, lane: Lane, chunk: Chunk | None) -> None:
        out: list[bytes | memoryview] = []
        if lane.pending:
            self._step("exec")
            out += [MULTI, lane.pending.body, EXEC]
        if chunk:
            out += [self._watch, chunk.reads(self._view)]
        lane.wire.send(*out)
        lane.sent, lane.pending, lane.reading = lane.pending, None, chunk

    def _collect(self, lane: Lane) -> None:
        sent, reading = lane.sent, lane.reading
        lane.sent = lane.reading = None
        if sent and not self._executed(lane.wire, sent):
            self._again.append(sent.chunk)
        if reading:
            lane.pending = self._decide(lane.wire, reading)

    def _executed(self, wire_: Wire, pending: Pending) -> bool:
        if not wire_.executed(pending.commands):
            self._conflicts += 1
            if self._conflicts > MAX_CONFLICTS:
                raise TransportError(
                    f"{self._view.name}: pushes overtook {MAX_CONFLICTS} chunks in a row; try again when fewer arrive."
                )
            return False
        self._conflicts = 0
        self._count(pending.chunk, pending.written)
        return True

    def _holds(self, token: bytes | None) -> bool:
        return token == self._claim.token

    def _count(self, chunk: Chunk, changed: int) -> None:
        self._settled += len(chunk)
        if chunk.rule is Rule.FORGET:
            return
        if chunk.drops:
            self.tally.dropped += changed
        else:
            self.tally.written += changed
            self.tally.kept += len(chunk) - changed

    def _decide(self, wire_: Wire, chunk: Chunk) -> Pending | None:
        wire_.acknowledged(1)
        if not self._holds(wire_.reply()):
            raise LostClaim(f"{self._view.name}: another run took over; this one stopped without a further write.")
        if chunk.probe and wire_.reply():
            self._probing = False
            self._again.append(replace(chunk, probe=False))
            self._let_go(wire_)
            return None
        stored = self._stored(wire_, chunk)
        claim, micros = self._claim, chunk.commands.micros[chunk.start : chunk.stop]
        mask = chosen(chunk.rule, stored, micros, generation=claim.generation, version=claim.target + 1)
        current = stored.generation == np.uint64(claim.generation)
        staying = ~mask & stored.push & ~current
        adopted = 0 if chunk.drops else int(staying.sum())
        written = int(mask.sum())
        if not written + adopted:
            self._count(chunk, 0)
            self._let_go(wire_)
            return None
        change = -int((mask & current).sum()) if chunk.drops else int((mask & ~current).sum()) + adopted
        if chunk.rule is Rule.FORGET:
            change = 0  # every row is still there
        count = command(b"INCRBY", self._keys.count, b"%d" % change)
        body = b"".join((chunk.changes(mask), self._adopt(chunk, stored, staying) if adopted else b"", count))
        return Pending(chunk, body, written + adopted + 1, written)

    def _stored(self, wire_: Wire, chunk: Chunk) -> Stored:
        if chunk.probe:
            return Stored.nothing(len(chunk))
        self._read += len(chunk)
        return Stored.of(*wire_.pairs(len(chunk)))

    def _let_go(self, wire_: Wire) -> None:
        wire_.send(UNWATCH)
        wire_.acknowledged(1)

    def _adopt(self, chunk: Chunk, stored: Stored, mask: Mask) -> memoryview:
        """A newer push that stays from an older generation gets this generation's order field, so that keys stay counted."""
        bulks = chunk.commands.bulks.slice(chunk.start, len(chunk)).filter(pa.array(mask))
        orders = order_cells(self._claim.generation, stored.micros[mask], 0)
        return wire(write_commands(bulks, [(self._view.order_field, orders)]))
