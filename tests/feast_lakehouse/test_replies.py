"""Redis replies read in bulk equal those read one by one, wherever the bytes happen to be cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feast_lakehouse.encoding import timestamp_cells
from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.replies import ErrorReply, Incomplete, _any_pairs, _regular, one_reply, pairs, skip_lines
from feast_lakehouse.wire import Wire

Row = tuple[bytes | None, bytes | None]


def stamp(micros: int) -> bytes:
    import numpy as np

    return bytes(timestamp_cells(np.array([micros], np.int64))[0].as_py())


ORDERS = st.binary(min_size=24, max_size=24) | st.just(b"*2\r\n$24\r\n*2\r\n$24\r\n*2\r\n$2")
STAMPS = st.integers(-(2**60), 2**60).map(stamp)
OURS = st.tuples(ORDERS, STAMPS)
ROWS = st.lists(OURS | st.just((None, None)) | st.tuples(st.none() | st.binary(), st.none() | st.binary()), min_size=1)


def bulk(word: bytes | None) -> bytes:
    return b"$-1\r\n" if word is None else b"$%d\r\n%b\r\n" % (len(word), word)


def answered(rows: list[Row]) -> bytes:
    return b"".join(b"*2\r\n" + bulk(first) + bulk(second) for first, second in rows)


class Arriving:
    """A connection whose bytes arrive in the pieces given."""

    def __init__(self, *pieces: bytes) -> None:
        self._sock, self._pieces = self, list(pieces)

    def recv(self, _: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


@settings(deadline=None)
@given(rows=ROWS, before=st.binary(max_size=9), after=st.binary(max_size=80))
def test_bulk_reading_gives_what_reading_one_by_one_gives(rows: list[Row], before: bytes, after: bytes) -> None:
    data = before + answered(rows) + after
    orders, stamps, end = pairs(data, len(before), len(rows))
    assert list(zip(orders.to_pylist(), stamps.to_pylist(), strict=True)) == rows
    assert end == len(before) + len(answered(rows))
    assert _any_pairs(data, len(before), len(rows))[2] == end


@settings(deadline=None)
@given(rows=ROWS, data=st.data())
def test_a_reply_cut_anywhere_is_waited_for(rows: list[Row], data: st.DataObject) -> None:
    whole = answered(rows)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Incomplete):
        pairs(whole[:cut], 0, len(rows))
    wire = Wire(Arriving(*filter(None, (whole[:cut], whole[cut:] + b"+OK\r\n"))))
    orders, stamps = wire.pairs(len(rows))
    assert list(zip(orders.to_pylist(), stamps.to_pylist(), strict=True)) == rows
    wire.acknowledged(1)


def test_what_the_engine_writes_is_read_in_bulk() -> None:
    rows = [(struct.pack(">QQQ", 7, micros, 1), stamp(micros)) for micros in range(0, 10**15, 10**12 + 1)]
    assert _regular(answered([*rows, (None, None)]), 0, len(rows) + 1) is not None


@pytest.mark.parametrize(
    ("found", "error", "text"),
    [
        (b"+OK\r\n+QUEUED\r\n-OOM command not allowed\r\n-EXECABORT\r\n", TransportError, "OOM command not allowed"),
        (b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n-WRONGTYPE of a key\r\n", DataError, "WRONGTYPE of a key"),
        (b"-LOADING Redis is loading\r\n", TransportError, "LOADING"),
        (b"+OK\r\n+QUEUED\r\n+QUEUED\r\n-READONLY replica\r\n", TransportError, "READONLY"),
        (b"+OK\r\n+QUE", TransportError, "closed the connection in the middle of a reply"),
    ],
)
def test_the_first_error_of_a_transaction_is_raised(found: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Wire(Arriving(found)).executed(2)


def test_a_transaction_that_was_overtaken_is_told_from_one_that_was_carried_out() -> None:
    assert Wire(Arriving(b"+OK\r\n+QUEUED\r\n*1\r\n:11\r\n")).executed(1)
    assert not Wire(Arriving(b"+OK\r\n+QUEUED\r\n*-1\r\n")).executed(1)


def test_an_error_in_place_of_a_row_is_raised() -> None:
    with pytest.raises(ErrorReply, match="WRONGTYPE"):
        pairs(answered([(None, None)]) + b"-WRONGTYPE of a key\r\n", 0, 2)


def test_lines_and_values() -> None:
    assert skip_lines(b"+OK\r\n:1\r\n$", 0, 2) == 9
    assert one_reply(b"*3\r\n$1\r\na\r\n*-1\r\n:-7\r\n", 0) == ([b"a", None, -7], 21)
