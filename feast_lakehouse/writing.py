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


def read_text(ref: TableRef, path: str) -> str | None:
    """A small file of the table's folder; None when it is not there. Raises what `writable_filesystem` does."""
    try:
        with writable_filesystem(ref).open_input_file(path) as stream:
            return bytes(stream.read()).decode("utf-8")
    except FileNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise ref.failed(f"{path} cannot be read", error) from None


def write_text(ref: TableRef, path: str, text: str) -> None:
    """A small file of the table's folder, written or replaced. Raises what `writable_filesystem` does."""
    try:
        with writable_filesystem(ref).open_output_stream(path) as stream:
            stream.write(text.encode("utf-8"))
    except (DeltaError, OSError) as error:
        raise ref.failed(f"{path} cannot be written", error) from None


def file_names(ref: TableRef, folder: str) -> list[str]:
    """Paths of the files directly in a folder of the table, sorted; none when the folder is not there."""
    try:
        listed = writable_filesystem(ref).get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    except (DeltaError, OSError) as error:
        raise ref.failed(f"{folder} cannot be listed", error) from None
    return sorted(str(info.path) for info in listed if info.is_file)


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
