"""Files read in blocks are the files, whatever is asked for, and what is held stays within its limit."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from feast_lakehouse.delta import TableRef
from feast_lakehouse.table_files import LARGEST_BLOCK, SMALLEST_BLOCK, BlockCache, TableFiles

LIMIT = 5 * SMALLEST_BLOCK
ROWS = 100_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[TableFiles, dict[str, bytes]]:
    ref = TableRef(str(tmp_path_factory.mktemp("lake") / "t"))
    for part in range(2):
        write_deltalake(ref.uri, pa.table({"x": [(n * 7919 + part) % 104_729 for n in range(ROWS)]}), mode="append")
    contents = {path: Path(ref.uri, path).read_bytes() for path in ref.state().files}
    assert all(len(content) > LIMIT for content in contents.values()), "more than the cache may hold"
    sizes = {path: len(content) for path, content in contents.items()}
    return TableFiles(ref, sizes, "lake", columns=1, blocks=BlockCache(LIMIT)), contents


@settings(deadline=None)
@given(data=st.data())
def test_any_part_of_any_file_is_what_the_file_has(
    files: tuple[TableFiles, dict[str, bytes]], data: st.DataObject
) -> None:
    opened, contents = files
    path = data.draw(st.sampled_from(sorted(contents)))
    at = data.draw(st.integers(0, len(contents[path])))
    size = data.draw(st.integers(-1, len(contents[path]) + 9))
    file = opened.open(path)
    file.seek(at)
    assert file.read(size) == contents[path][at : at + size if size >= 0 else None]


def test_a_block_is_read_once_and_the_oldest_goes_first() -> None:
    cache, read = BlockCache(3), list[int]()

    def block(at: int) -> bytes:
        return cache.get("f", at, lambda: read.append(at) or b"x")

    for at in (0, 1, 2, 0, 3, 0, 1):
        assert block(at) == b"x"
    assert read == [0, 1, 2, 3, 1]


def test_a_block_is_smaller_the_more_columns_are_read_side_by_side() -> None:
    cache = BlockCache()
    assert cache.block_bytes(1) == LARGEST_BLOCK
    assert cache.block_bytes(64) * 64 * 4 == 32 << 20
    assert cache.block_bytes(10_000) == SMALLEST_BLOCK
