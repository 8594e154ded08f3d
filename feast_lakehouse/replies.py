"""Redis replies (RESP2) out of raw bytes, hundreds at a time: no Python object for each of them.

https://redis.io/docs/latest/develop/reference/protocol-spec/ (+line, -error, :number, $bulk string, *array; nulls are
$-1 and *-1)
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feast_lakehouse.cells import Ints, fixed, picked

Bytes = npt.NDArray[np.uint8]

MINUS, NEWLINE, STAR = b"-\n*"
ABSENT: Final = b"*2\r\n$-1\r\n$-1\r\n"
OPENING: Final = b"*2\r\n$24\r\n"
"""What a row that has an order field of 24 bytes begins with."""
ORDER_AT, ORDER_BYTES = len(OPENING), 24
_ORDER_END = ORDER_AT + ORDER_BYTES
_FIXED = _ORDER_END + len(b"\r\n$nn\r\n")
LONGEST_STAMP = 24
"""In bytes; seconds and nanos take 11 each at most."""


class Incomplete(Exception):
    """The bytes end in the middle of a reply."""


class ErrorReply(Exception):
    """Redis answered with an error: its text."""


def skip_lines(data: bytes, at: int, count: int) -> int:
    """Where `count` replies of one line each end. Raises Incomplete, or ErrorReply with the first error among them."""
    view = np.frombuffer(data, np.uint8, offset=at)
    ends = np.flatnonzero(view == NEWLINE)[:count] + 1
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    errors = np.flatnonzero(view[starts] == MINUS)
    if len(errors):
        first = errors[0]
        raise ErrorReply(data[at + starts[first] + 1 : at + ends[first] - 2].decode(errors="replace"))
    if len(ends) < count:
        raise Incomplete
    return at + int(ends[-1]) if count else at


def one_reply(data: bytes, at: int) -> tuple[Any, int]:
    """Any reply as a Python value, and where it ends. Raises Incomplete and ErrorReply."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind, text, at = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"-":
        raise ErrorReply(text.decode(errors="replace"))
    if kind in (b"+", b":"):
        return text if kind == b"+" else int(text), at
    size = int(text)
    if size < 0:
        return None, at
    if kind == b"*":
        values = []
        for _ in range(size):
            value, at = one_reply(data, at)
            values.append(value)
        return values, at
    if len(data) < at + size + 2:
        raise Incomplete
    return data[at : at + size], at + size + 2


def pairs(data: bytes, at: int, count: int) -> tuple[pa.Array, pa.Array, int]:
    """`count` replies of two fields each (order, timestamp), null where a field is absent; and where they end."""
    return _regular(data, at, count) or _any_pairs(data, at, count)


def _any_pairs(data: bytes, at: int, count: int) -> tuple[pa.Array, pa.Array, int]:
    rows = []
    for _ in range(count):
        row, at = one_reply(data, at)
        rows.append(row)
    return pa.array([row[0] for row in rows], pa.binary()), pa.array([row[1] for row in rows], pa.binary()), at


def _regular(data: bytes, at: int, count: int) -> tuple[pa.Array, pa.Array, int] | None:
    """The same for rows that are absent, or have an order of 24 bytes and a timestamp of up to 24; None for any others.

    Every "*" may begin a row. That those chosen do is certain when each begins where the one before it ends.
    """
    view = np.frombuffer(data, np.uint8, offset=at)
    stars = np.flatnonzero(view == STAR)
    begin = _windows(view, stars, len(ABSENT))
    absent = (begin == np.frombuffer(ABSENT, np.uint8)).all(axis=1)
    there = (begin[:, : len(OPENING)] == np.frombuffer(OPENING, np.uint8)).all(axis=1)
    there &= stars + _FIXED <= len(view)  # else the bytes end within the row
    rows = np.flatnonzero(absent | there)[:count]
    if not len(rows):
        return None
    starts, there = stars[rows], there[rows]
    heads, stamps = _stamp_heads(_windows(view, starts + _ORDER_END, _FIXED - _ORDER_END))
    stamp_at = starts + _ORDER_END + heads
    ends = np.where(there, stamp_at + stamps + 2, starts + len(ABSENT))
    if starts[0] != 0 or (starts[1:] != ends[:-1]).any() or (there & (heads == 0)).any():
        return None
    if ends[-1] > len(view):
        raise Incomplete
    if len(rows) < count:
        one_reply(data, at + int(ends[-1]))  # the next one is of another kind, unless only a part of it is here
        return None
    orders = fixed(_windows(view, starts + ORDER_AT, ORDER_BYTES)).cast(pa.binary())
    cells = _cells(_windows(view, stamp_at, LONGEST_STAMP), stamps)
    if not there.all():
        present = pa.array(there)
        orders, cells = (pc.if_else(present, each, pa.scalar(None, pa.binary())) for each in (orders, cells))
    return orders, cells, at + int(ends[-1])


def _stamp_heads(windows: Bytes) -> tuple[Ints, Ints]:
    """How many bytes are between order and timestamp (their line ends, "$" and n, one or two digits; else 0), and what n is."""
    heads, stamps = np.zeros(len(windows), np.int64), np.zeros(len(windows), np.int64)
    for shape in (b"\r\n$n\r\n", b"\r\n$nn\r\n"):
        form = np.frombuffer(shape, np.uint8)
        found, digit = windows[:, : len(form)], form == ord("n")
        fits = ((found == form) | digit).all(axis=1) & (
            (found[:, digit] >= ord("0")) & (found[:, digit] <= ord("9"))
        ).all(axis=1)
        number = np.zeros(len(windows), np.int64)
        for place in np.flatnonzero(digit):
            number = number * 10 + (found[:, place].astype(np.int64) - ord("0"))
        fits &= number <= LONGEST_STAMP
        heads[fits], stamps[fits] = len(form), number[fits]
    return heads, stamps


def _cells(matrix: Bytes, lengths: Ints) -> pa.Array:
    return picked(matrix, np.arange(matrix.shape[1]) < lengths[:, None])


def _windows(view: Bytes, starts: Ints, width: int) -> Bytes:
    """The `width` bytes from each start on; what lies behind the end repeats the last byte."""
    places = starts[:, None] + np.arange(width)
    return np.asarray(view[np.minimum(places, len(view) - 1)])
