"""A Feast registry in a local file that any number of processes can apply to, read, and be killed in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feast.infra.registry.file import FileRegistryStore
from feast.repo_config import RegistryConfig

from feast_lakehouse.merging_registry import MergingRegistryStore, Stored


class LocalRegistryStore(MergingRegistryStore, FileRegistryStore):
    """Feast's file registry with compare-and-swap: `registry_store_type: feast_lakehouse.registry_store.LocalRegistryStore`.

    A write merges (see MergingRegistryStore) under an exclusive lock of `<path>.lock`. The file is written aside, flushed
    to disk and renamed: a reader, who takes no lock, always finds a whole registry, and so does the next writer after a
    kill. A write that changes nothing does not touch the file. The lock file stays after a teardown, because another
    process may be waiting for it.

    `path` may be absolute, relative to the repository, or a file:// URI. The folder must be on a local disk of one
    machine (locks of network file systems are not trusted).
    """

    kind = "file"

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:
        MergingRegistryStore.__init__(self)
        path = Path(registry_config.path.removeprefix("file://"))
        # Feast's own file registry looks at `_filepath` to see when the file changed.
        self._filepath = path if path.is_absolute() else (repo_path or Path()).joinpath(path)
        self.place = str(self._filepath)

    def _read(self) -> Stored:
        try:
            return Stored(self._parsed(self._filepath.read_bytes()))
        except FileNotFoundError:
            return Stored(None)

    def _swap(self, content: bytes, seen: Stored) -> bool:  # noqa: ARG002 - under the lock, what was seen is there
        target = self._filepath.resolve()  # a symbolic link stays one
        aside = target.with_name(
            f"{target.name}.new"
        )  # one name: under the lock, whatever a killed writer left is dead
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            aside.chmod(target.stat().st_mode & 0o777)
        aside.replace(target)
        _sync_folder(target.parent)
        return True

    def _remove(self) -> None:
        self._filepath.unlink(missing_ok=True)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        target = self._filepath.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f"{target.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when the process dies
            yield


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
