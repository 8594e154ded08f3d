"""Broken files: each is refused as a whole, with everything that is wrong with it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from feast_lakehouse.errors import DataError
from feature_pipelines.delimited import convert_cells, read_cells, written_dates

GOOD = "a,b\n1,x\nNA,\n"


def read(path: Path, columns: tuple[str, ...] = ("a", "b")) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = pa.Table.from_batches(read_cells(path, columns)).to_pylist()
    return found


def file(folder: Path, text: str) -> Path:
    path = folder / "rows.csv"
    path.write_text(text)
    return path


def test_na_and_empty_cells_are_null_and_columns_come_as_asked(tmp_path: Path) -> None:
    assert read(file(tmp_path, GOOD), ("b", "a")) == [{"b": "x", "a": "1"}, {"b": None, "a": None}]


def test_a_zip_reads_like_the_file_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.csv.zip", "w") as archive:
        archive.writestr("rows.csv", GOOD)
    assert read(tmp_path / "rows.csv.zip") == read(file(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("a,b\n", "expected rows below the header, found none"),
        ("a,b\n1,x\n2,y", "cut off.*expected a line end"),
        ("a,b\n1,x\n2\n", "Expected 2 columns, got 1"),
        ("a,c,d\n1,x,y\n", "missing: b; unexpected: c, d"),
        ("a,b,b\n1,x,y\n", "doubled: b"),
        ("a,b\n1,\x00\xff\udcff\n".encode("utf-8", "surrogateescape"), "invalid UTF8"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=f"(?s)rows.csv.*{said}"):
        read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the source's file, found none"):
        read(tmp_path / "rows.csv")


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_truncated_zip_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "rows.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", GOOD * 100)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DataError, match=r"rows.csv.zip"):
        read(path)


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("rows.csv", GOOD)
    path.write_bytes(path.read_bytes().replace(b"1,x", b"1,z"))
    with pytest.raises(DataError, match="CRC"):
        read(path)


def test_a_zip_of_two_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.csv.zip", "w") as archive:
        archive.writestr("one.csv", GOOD)
        archive.writestr("two.csv", GOOD)
    with pytest.raises(DataError, match=r"found 2: one.csv, two.csv"):
        read(tmp_path / "rows.csv.zip")


def test_every_retyped_column_is_named() -> None:
    cells = pa.RecordBatch.from_pydict({"a": ["1", "soon", "later"], "b": ["1.5", None, "x"], "c": ["1", "2", "3"]})
    with pytest.raises(DataError) as caught:
        convert_cells("rows.csv", cells, {"a": pa.int32(), "b": pa.float64(), "c": pa.int32()})
    assert str(caught.value).splitlines()[1:] == [
        "  a: expected int32, found 'soon' in 2 of 3 rows",
        "  b: expected double, found 'x' in 1 of 3 rows",
    ]


@pytest.mark.parametrize(("month", "day"), [("13", "1"), ("2", "30"), (None, "1"), ("0", "1")])
def test_a_row_without_a_date_is_refused(month: str | None, day: str) -> None:
    cells = pa.RecordBatch.from_pydict({"year": ["2013"], "month": pa.array([month], pa.string()), "day": [day]})
    with pytest.raises(DataError, match="belong to no interval"):
        written_dates("rows.csv", cells)
