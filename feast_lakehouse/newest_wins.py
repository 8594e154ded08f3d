"""The order of two rows of a key: (generation, event time, target version), 24 bytes, big endian, so that bytes compare.

A push carries version 0; a batch carries its table version + 1. A row whose `_ts` differs from its order field was
written by someone else's writer and counts as a push. A push is a fact of its own: a new generation does not age it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.timestamp_pb2 import Timestamp

from feast_lakehouse.cells import Ints, fixed
from feast_lakehouse.delta import TableState
from feast_lakehouse.encoding import MICROS, timestamp_cells
from feast_lakehouse.schemas import PARTITION_COLUMNS

ORDER_BYTES = 24
_SIGN = np.uint64(1 << 63)
_ORDER = pa.binary(ORDER_BYTES)
_NOTHING = b"\0" * ORDER_BYTES

Mask = npt.NDArray[np.bool_]


def may_tie(state: TableState) -> bool:
    """Whether two rows of the table may have one key and one event time. Not where each file is an interval of its own:
    an interval's rows have event times that no other interval's have, and are audited for keys that occur twice.
    """
    first = next(iter(state.files.values()), None)
    return first is not None and not set(PARTITION_COLUMNS) <= first.partition.keys()


def order_cells(generation: int, micros: Ints, version: int) -> pa.Array:
    """Order fields of rows that share generation and version; `version` is 0 for pushes, table version + 1 for batches."""
    fields = np.empty((len(micros), 3), ">u8")
    fields[:, 0] = generation
    fields[:, 1] = micros.view(np.uint64) ^ _SIGN
    fields[:, 2] = version
    return fixed(fields.view(np.uint8))


@dataclass(frozen=True)
class Stored:
    """What Redis holds for some keys, one entry per key: its order, and whether it is there at all, and whether a push.

    `micros` is meaningful where `present`; `generation` and `version` where an order field exists (else 0).
    """

    present: Mask
    push: Mask
    generation: npt.NDArray[np.uint64]
    micros: Ints
    version: npt.NDArray[np.uint64]

    @classmethod
    def parse(cls, orders: Sequence[bytes | None], stamps: Sequence[bytes | None]) -> Stored:
        """From the order and `_ts` fields as Redis returned them."""
        return cls.of(pa.array(orders, pa.binary()), pa.array(stamps, pa.binary()))

    @classmethod
    def of(cls, fields: pa.Array, stamp_cells: pa.Array) -> Stored:
        """From columns of the order and `_ts` fields, null where there is none."""
        if fields.null_count == stamp_cells.null_count == len(fields):
            return cls.nothing(len(fields))
        all_ours, raw = fields.type == _ORDER and not fields.null_count, fields
        if not all_ours:
            ours = pc.fill_null(pc.equal(pc.binary_length(fields), ORDER_BYTES), fill_value=False)
            raw = pc.if_else(ours, fields.cast(pa.binary()), pa.scalar(_NOTHING, pa.binary())).cast(_ORDER)
        numbers = np.frombuffer(raw.buffers()[1], ">u8").reshape(-1, 3)[: len(fields)].astype(np.uint64)
        micros = (numbers[:, 1] ^ _SIGN).view(np.int64).copy()
        expected = timestamp_cells(micros)
        if all_ours and stamp_cells.equals(expected):  # as usual
            present = batch = np.ones(len(fields), np.bool_)
        else:
            both = (cells.cast(pa.binary()) for cells in (stamp_cells, expected))
            alike = _mask(pc.fill_null(pc.equal(*both), fill_value=False))
            present, batch = _mask(stamp_cells.is_valid()), alike if all_ours else alike & _mask(ours)
        stock = present & ~batch
        for row in np.flatnonzero(stock).tolist():
            micros[row] = _micros(stamp_cells[row].as_py())
        push = stock | (present & batch & (numbers[:, 2] == 0))
        return cls(present, push, numbers[:, 0], micros, numbers[:, 2])

    @classmethod
    def nothing(cls, rows: int) -> Stored:
        """Redis holds none of the keys."""
        nowhere, zero = np.zeros(rows, np.bool_), np.zeros(rows, np.uint64)
        return cls(nowhere, nowhere, zero, zero.view(np.int64), zero)


def _mask(flags: pa.Array) -> Mask:
    mask: Mask = flags.to_numpy(zero_copy_only=False)
    return mask


def _micros(stamp: bytes) -> int:
    message = Timestamp.FromString(stamp)
    return int(message.seconds * MICROS + message.nanos // 1000)


class Rule(Enum):
    """What a batch of rows may do to what is stored."""

    NEWEST = "newest"
    """Each row is a newer row of its key: it replaces what is older."""
    SETTLE = "settle"
    """Each row is the newest of its key in the whole table: it also replaces a batch row with a later event time,
    which can only be one that the table no longer has."""
    DROP = "drop"
    """The table has no row of these keys any more: what a batch wrote goes."""
    SWEEP = "sweep"
    """Whatever a batch of an earlier generation wrote goes."""
    FORGET = "forget"
    """Fields that the view no longer has go; what else is stored stays."""


def chosen(rule: Rule, stored: Stored, micros: Ints, *, generation: int, version: int) -> Mask:
    """Which rows of a batch change what is stored. A push stays unless the batch has a row at least as new."""
    if rule is Rule.FORGET:
        return np.ones(len(micros), np.bool_)
    batch = stored.present & ~stored.push
    same = stored.generation == np.uint64(generation)
    if rule is Rule.DROP:
        return batch
    if rule is Rule.SWEEP:
        return np.asarray(batch & ~same)
    later, tie = micros > stored.micros, micros == stored.micros
    over_batch = ~same | later | (tie & (np.uint64(version) > stored.version))
    if rule is Rule.SETTLE:
        over_batch |= ~tie
    return np.asarray(~stored.present | np.where(stored.push, later | tie, over_batch))


def push_wins(stored: Stored, micros: Ints) -> Mask:
    """Which pushed rows replace what is stored: newer than a batch row, at least as new as an earlier push."""
    return np.asarray(~stored.present | (micros > stored.micros) | ((micros == stored.micros) & stored.push))
