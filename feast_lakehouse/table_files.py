"""A table's folder as DuckDB reads files that are not local: over the client that also reads the Delta log."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from deltalake.fs import DeltaStorageHandler
from fsspec import AbstractFileSystem

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import LakehouseError
from feast_lakehouse.storage_errors import storage_error

UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)
"""When a file was written: nobody needs to know, because data files never change."""


LARGEST_BLOCK, SMALLEST_BLOCK = 1 << 20, 1 << 16


class BlockCache:
    """The parts of files that were read last, `limit` bytes in all. Thread-safe.

    DuckDB reads a Parquet file page by page, head and body apart, each column at a place of its own: for a lake that
    answers in milliseconds these are far too many questions, and its own way of asking fewer keeps whole row groups.
    """

    def __init__(self, limit: int = 32 << 20) -> None:
        self._limit, self._held = limit, 0
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def block_bytes(self, columns: int) -> int:
        """How large a block may be where so many columns are read side by side, by two threads, one block ahead."""
        return max(SMALLEST_BLOCK, min(LARGEST_BLOCK, self._limit // (4 * max(1, columns))))

    def get(self, file: str, at: int, read: Callable[[], bytes]) -> bytes:
        """The block of a file that begins at `at`; read now, unless it is held."""
        with self._lock:
            if found := self._blocks.get((file, at)):
                self._blocks.move_to_end((file, at))
                return found
        block = read()
        with self._lock:
            if (file, at) not in self._blocks:
                self._blocks[file, at] = block
                self._held += len(block)
            while self._held > self._limit:
                self._held -= len(self._blocks.popitem(last=False)[1])
        return block


class TableFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """Data files under a table's folder, read only. DuckDB asks it for `<protocol>://<path inside the table>`.

    `sizes` are the files and their bytes, as the log has them: nothing is asked of the storage but the data. `columns` is
    how many of them will be read. `failure` is what went wrong last, if anything.
    """

    cachable = False

    def __init__(
        self, ref: TableRef, sizes: Mapping[str, int], protocol: str, *, columns: int, blocks: BlockCache
    ) -> None:
        super().__init__()
        self.protocol = protocol
        self.failure: LakehouseError | None = None
        self._ref = ref
        self._sizes = sizes
        self._blocks, self._block = blocks, blocks.block_bytes(columns)
        self._handler = DeltaStorageHandler(ref.uri, ref.options(), dict(sizes))._handler  # noqa: SLF001 - the file it opens, without a second wrapper that several threads must not share

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: names from the log are names, whatever characters they have."""
        return [path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name and size in bytes."""
        return {"name": path, "size": self._sizes[self._inside(path)], "type": "file"}

    def modified(self, path: str) -> datetime:  # noqa: ARG002 - fsspec's signature
        """Not known."""
        return UNKNOWN

    def open(self, path: str, mode: str = "rb", **_: Any) -> SharedFile:
        """A file to read."""
        return SharedFile(self, self._inside(path), self.info(path)["size"], mode)

    def read_at(self, path: str, at: int, size: int) -> bytes:
        """`size` bytes of a file from `at` on."""
        if size >= self._block:
            return self._fetch(path, at, size)
        first = at - at % self._block
        data = b"".join(self._block_at(path, start) for start in range(first, at + size, self._block))
        return data[at - first : at - first + size]

    def _block_at(self, path: str, start: int) -> bytes:
        size = min(self._block, self._sizes[path] - start)
        return self._blocks.get(f"{self.protocol}://{path}", start, lambda: self._fetch(path, start, size))

    def _fetch(self, path: str, at: int, size: int) -> bytes:
        try:
            file = self._handler.open_input_file(path)
            file.seek(at)
            return bytes(file.read(size))
        except Exception as error:
            # DuckDB would make it a text among others: who acts, and what to check, is told by storage_error.
            self.failure = storage_error(
                self._ref.uri, f"reading {path}", error, place=self._ref.place, options=self._ref.storage_options
            )
            raise

    def _inside(self, path: str) -> str:
        return path.removeprefix(f"{self.protocol}://")


class SharedFile:
    """One file for several threads, each with a place of its own.

    DuckDB seeks and then reads, in two calls, on one file from any of its threads.
    """

    def __init__(self, files: TableFiles, path: str, size: int, mode: str) -> None:
        self.path, self.size, self.mode, self.closed = path, size, mode, False
        self._files, self._mine = files, threading.local()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move this thread's place; returns it."""
        start = (0, self.tell(), self.size)[whence]
        self._mine.at = start + offset
        return int(self._mine.at)

    def tell(self) -> int:
        """Where this thread is."""
        return int(getattr(self._mine, "at", 0))

    def read(self, size: int = -1) -> bytes:
        """Bytes from this thread's place on; it moves behind them."""
        at = self.tell()
        left = self.size - at
        data = self._files.read_at(self.path, at, left if size < 0 else min(size, left))
        self._mine.at = at + len(data)
        return data

    def seekable(self) -> bool:
        """Always."""
        return True

    def readable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing is held open."""
        self.closed = True
