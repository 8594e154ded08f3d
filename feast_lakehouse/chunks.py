"""Chunks of a batch on their way: what is asked before one is written, what is then sent, and on which connection."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from feast_lakehouse.newest_wins import Mask, Rule
from feast_lakehouse.resp import Commands, exists_command, read_commands, wire
from feast_lakehouse.view import View
from feast_lakehouse.wire import Wire


@dataclass(frozen=True)
class Chunk:
    """Rows `start` to `stop` of a batch, written in one transaction. `probe`: whether to ask first if any key is there."""

    commands: Commands
    start: int
    stop: int
    rule: Rule
    probe: bool = False

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def drops(self) -> bool:
        """Whether something is taken away."""
        return self.rule in (Rule.DROP, Rule.SWEEP, Rule.FORGET)

    def reads(self, view: View) -> bytes | memoryview:
        """The commands that ask what Redis has."""
        bulks = self.commands.bulks.slice(self.start, len(self))
        return exists_command(bulks) if self.probe else read_commands(view, bulks)

    def changes(self, mask: Mask) -> memoryview:
        """The commands of the rows chosen."""
        chosen = self.commands.changes.slice(self.start, len(self))
        return wire(chosen if mask.all() else chosen.filter(pa.array(mask)))


@dataclass(frozen=True)
class Pending:
    """A transaction on its way: how many commands it queues and what it will have done."""

    chunk: Chunk
    body: bytes | memoryview
    commands: int
    written: int


@dataclass
class Lane:
    """One connection: the chunk whose reads are on their way, and the transaction that travels before them."""

    wire: Wire
    pending: Pending | None = None
    sent: Pending | None = None
    reading: Chunk | None = None

    @property
    def busy(self) -> bool:
        """Whether replies are still to come."""
        return self.sent is not None or self.reading is not None
