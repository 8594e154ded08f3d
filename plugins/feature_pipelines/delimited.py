"""Strict, streamed reading of delimited text files: a file is either what it should be or refused by name."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from feast_lakehouse.errors import DataError

NULLS = ("NA", "")
BLOCK_BYTES = 1 << 22
DATE_WIDTHS = {"year": 4, "month": 2, "day": 2}


class _Watched(io.RawIOBase):
    """A byte stream that remembers its size and its last byte, to tell a file that was cut off."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.size, self.last = stream, 0, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._stream.read(size)
        self.size += len(chunk)
        self.last = chunk[-1:] or self.last
        return chunk


def read_cells(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Streams the file's rows as text; NA and empty cells are null. Columns come in the order asked for.

    A .zip must hold exactly one file. Raises DataError for a file that is missing, empty, without rows, cut off,
    ragged, or has other columns than these: all missing and unexpected ones are named at once.
    """
    with _refusing_broken(path), _opened(path) as stream:
        rows = 0
        for batch in _parsed(path, stream, columns):
            rows += batch.num_rows
            yield batch.select(list(columns))
        if stream.last != b"\n":
            raise DataError(
                f"{path.name}: cut off: the last of {stream.size} bytes is {stream.last!r}, expected a line end"
            )
        if not rows:
            raise DataError(f"{path.name}: expected rows below the header, found none")


def convert_cells(name: str, cells: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    """The named text columns in their types. Raises DataError naming every column with a cell that does not fit."""
    converted, broken = {}, []
    for column, dtype in types.items():
        try:
            converted[column] = cells[column].cast(dtype)
        except pa.ArrowInvalid:
            broken.append(_misfit(column, cells[column], dtype))
    if broken:
        raise DataError(f"{name}: {len(broken)} columns do not have their type\n  " + "\n  ".join(broken))
    return pa.RecordBatch.from_pydict(converted)


def written_dates(name: str, cells: pa.RecordBatch) -> pa.Array:
    """The date in the columns year, month and day. Raises DataError for a row without one: it belongs to no interval."""
    numbers = convert_cells(name, cells, dict.fromkeys(DATE_WIDTHS, pa.int32()))
    parts = [pc.utf8_lpad(pc.cast(numbers[part], pa.string()), width, "0") for part, width in DATE_WIDTHS.items()]
    written = pc.binary_join_element_wise(*parts, "-", null_handling="replace", null_replacement="null")
    try:
        return written.cast(pa.date32())
    except pa.ArrowInvalid:
        bad = [text for text in written.to_pylist() if not _is_date(text)]
        raise DataError(
            f"{name}: expected a date in year, month, day; found {bad[0]} in {len(bad)} rows, which belong to no interval. "
            "Nothing was landed."
        ) from None


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _misfit(column: str, cells: pa.Array, dtype: pa.DataType) -> str:
    bad = []
    for cell in cells:
        try:
            cell.cast(dtype)
        except pa.ArrowInvalid:
            bad.append(cell.as_py())
    return f"{column}: expected {dtype}, found {bad[0]!r} in {len(bad)} of {len(cells)} rows"


def _parsed(path: Path, stream: _Watched, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    reader = pacsv.open_csv(
        pa.PythonFile(stream, mode="r"),
        read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), null_values=list(NULLS), strings_can_be_null=True
        ),
    )
    _require_columns(path, reader.schema.names, columns)
    yield from reader


def _require_columns(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    faults = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "doubled": sorted({name for name in found if found.count(name) > 1}),
    }
    if any(faults.values()):
        told = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
        raise DataError(f"{path.name}: the columns are not those of the contract. {told}. Nothing was landed.")


@contextmanager
def _opened(path: Path) -> Iterator[_Watched]:
    if path.suffix != ".zip":
        with path.open("rb") as stream:
            yield _Watched(stream)
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if len(members) != 1:
            raise DataError(
                f"{path.name}: expected one file in the archive, found {len(members)}: {', '.join(members)}"
            )
        with archive.open(members[0]) as stream:
            yield _Watched(stream)


@contextmanager
def _refusing_broken(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: expected the source's file, found none") from None
    except (pa.ArrowInvalid, UnicodeDecodeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path.name}: cut off, empty or not a delimited file: {error}. Nothing was landed.") from error
