"""Writing files into a table's folder through the same client that reads its log: local, HDFS and ADLS alike."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler

from feast_lakehouse.delta import TableRef
from feast_lakehouse.storage import require_namenode


def writable_filesystem(ref: TableRef) -> pafs.FileSystem:
    """A filesystem rooted at the table's folder that can also write; a missing local folder is made first.

    A file appears whole when its stream is closed. Raises DataError and TransportError as `TableRef.exists` does.
    """
    require_namenode(ref.uri, place=ref.place)
    local = Path(ref.uri.removeprefix("file://"))
    try:
        if local.is_absolute():
            local.mkdir(parents=True, exist_ok=True)
        return pafs.PyFileSystem(_WritingHandler(ref.uri, ref.options()))
    except (DeltaError, OSError) as error:
        raise ref.failed("storage cannot be used", error) from None


class _Sink(Protocol):
    @property
    def closed(self) -> bool: ...
    def write(self, data: bytes) -> int: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class _WritingHandler(DeltaStorageHandler):
    """deltalake's handler takes only `bytes`; pyarrow 26 hands it Buffers."""

    def open_output_stream(self, path: str, metadata: dict[str, str] | None = None) -> pa.PythonFile:
        sink: _Sink = self._handler.open_output_stream(path, metadata)  # type: ignore[assignment]
        return pa.PythonFile(_BytesSink(sink), mode="w")


class _BytesSink:
    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    @property
    def closed(self) -> bool:
        return self._sink.closed

    def write(self, data: object) -> int:
        return self._sink.write(bytes(memoryview(data)))  # type: ignore[arg-type]

    def flush(self) -> None:
        self._sink.flush()

    def close(self) -> None:
        self._sink.close()
