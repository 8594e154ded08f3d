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

from feast_lakehouse.cells import Ints, fixed, ragged
from feast_lakehouse.newest_wins import ORDER_BYTES

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

MINUS, NEWLINE, STAR = b"-\n*"
PAIR = b"*2\r\n$"
ABSENT: Final = b"*2\r\n$-1\r\n$-1\r\n"
OPENING: Final = b"*2\r\n$%d\r\n" % ORDER_BYTES
"""What a row that has an order field begins with."""
ORDER_AT = len(OPENING)
_ORDER_END = ORDER_AT + ORDER_BYTES
_SHORT_HEAD, _LONG_HEAD = b"\r\n$\0\r\n\0\0", b"\r\n$\0\0\r\n\0"
"""What is between an order and a timestamp: zero for its length, of one digit or two, and for what comes after."""
_FIXED = _ORDER_END + len(b"\r\n$nn\r\n")
LONGEST_STAMP = 24
"""In bytes; seconds and nanos take 11 each at most."""
_WINDOW = _FIXED + LONGEST_STAMP


def _number(text: bytes, at: int) -> np.uint64:
    """Eight bytes as one number."""
    return np.uint64(int.from_bytes(text[at : at + 8], "little"))


def _mask(text: bytes) -> np.uint64:
    """The bytes of the eight that are not zero."""
    return _number(bytes(0xFF if byte else 0 for byte in text), 0)


_ABSENT_FIRST, _ABSENT_LAST, _OPENING = _number(ABSENT, 0), _number(ABSENT, len(ABSENT) - 8), _number(OPENING, 0)
_SHORT, _SHORT_MASK = _number(_SHORT_HEAD, 0), _mask(_SHORT_HEAD)
_LONG, _LONG_MASK = _number(_LONG_HEAD, 0), _mask(_LONG_HEAD)


class Incomplete(Exception):
    """The bytes end in the middle of a reply."""


class ErrorReply(Exception):
    """Redis answered with an error: its text."""


def skip_lines(data: bytes, at: int, count: int) -> int:
    """Where `count` replies of one line each end. Raises Incomplete, or ErrorReply with the first error among them."""
    alike = data[at : data.find(b"\n", at) + 1] * (count - 1)
    if not alike.startswith(b"-") and data.startswith(alike, at):
        return _skip_line(data, at + len(alike)) if count else at
    view = np.frombuffer(data, np.uint8, offset=at)
    ends = np.flatnonzero(view == NEWLINE)[:count] + 1
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    errors = np.flatnonzero(view[starts] == MINUS)
    if len(errors):
        _skip_line(data, at + int(starts[errors[0]]))
    if len(ends) < count:
        raise Incomplete
    return at + int(ends[-1])


def _skip_line(data: bytes, at: int) -> int:
    end = data.find(b"\n", at) + 1
    if not end:
        raise Incomplete
    if data.startswith(b"-", at):
        raise ErrorReply(data[at + 1 : end - 2].decode(errors="replace"))
    return end


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
    if data.count(PAIR, at) < count and not data.startswith(b"-", at) and data.find(b"\r\n-", at) < 0:
        raise Incomplete  # no error that could stand for one of them, and too few: not worth looking at yet
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
    rest = data[at:] + bytes(_WINDOW)
    end = len(rest) - _WINDOW
    stars = np.flatnonzero(np.frombuffer(rest, np.uint8, end) == STAR)
    windows = np.ndarray(end, f"V{_WINDOW}", rest, strides=(1,))[stars].view(np.uint8).reshape(-1, _WINDOW)
    opening = _word(windows, 0)
    absent = (opening == _ABSENT_FIRST) & (_word(windows, len(ABSENT) - 8) == _ABSENT_LAST)
    there = (opening == _OPENING) & (stars + _FIXED <= end)  # else the bytes end within the row
    rows = np.flatnonzero(absent | there)[:count]
    if not len(rows):
        return None
    if len(rows) < len(stars):
        stars, there, windows = stars[rows], there[rows], windows[rows]
    short, sizes, sound = _stamp_sizes(windows)
    ends = stars + np.where(there, np.where(short, _FIXED - 1, _FIXED) + sizes + 2, len(ABSENT))
    if stars[0] != 0 or (stars[1:] != ends[:-1]).any() or (there & ~sound).any():
        return None
    if ends[-1] > end:
        raise Incomplete
    if len(rows) < count:
        one_reply(data, at + int(ends[-1]))  # the next one is of another kind, unless only a part of it is here
        return None
    orders = fixed(windows[:, ORDER_AT:_ORDER_END])
    stamps = windows[:, _FIXED:]
    if short.any():
        stamps = np.where(short[:, None], windows[:, _FIXED - 1 : -1], stamps)
    cells = ragged(stamps, sizes)
    if not there.all():
        present = pa.array(there)
        orders, cells = (
            pc.if_else(present, each.cast(pa.binary()), pa.scalar(None, pa.binary())) for each in (orders, cells)
        )
    return orders, cells, at + int(ends[-1])


def _stamp_sizes(windows: Bytes) -> tuple[npt.NDArray[np.bool_], Ints, npt.NDArray[np.bool_]]:
    """Whether the timestamp's length has one digit, the length, and whether there is one at all, as far as we read it."""
    word = _word(windows, _ORDER_END)
    tens, ones = (windows[:, _ORDER_END + place] - np.uint8(ord("0")) for place in (3, 4))
    short = (word & _SHORT_MASK) == _SHORT
    long = ((word & _LONG_MASK) == _LONG) & (ones <= 9)  # noqa: PLR2004 - a digit
    sizes = np.where(short, tens, tens.astype(np.int64) * 10 + ones)
    sound = (short | long) & (tens <= 9) & (sizes <= LONGEST_STAMP)  # noqa: PLR2004 - a digit
    return short, np.where(sound, sizes, 0), sound


def _word(windows: Bytes, at: int) -> Words:
    """Eight bytes of each row as one number."""
    return windows[:, at : at + 8].view("<u8")[:, 0]
