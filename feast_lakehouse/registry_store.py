"""A Feast registry in a local file that any number of processes can apply to, read, and be killed in."""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Final

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import ProjectMetadata, Registry
from feast.repo_config import RegistryConfig
from google.protobuf.message import DecodeError

from feast_lakehouse.errors import DataError
from feast_lakehouse.registry_merge import merge, same_content

REMEMBERED_READS: Final = 4


class LocalRegistryStore(FileRegistryStore):
    """Feast's file registry with compare-and-swap: `registry_store_type: feast_lakehouse.registry_store.LocalRegistryStore`.

    Feast changes the registry it was given in memory and hands it back to be stored. This store remembers what it gave,
    so a write is a three-way merge (see registry_merge) with what is in the file by then, under an exclusive lock of
    `<path>.lock`. No acknowledged apply is lost, nothing deleted comes back. The file is written aside, flushed to
    disk and renamed: a reader, who takes no lock, always finds a whole registry, and so does the next writer after a
    kill. A write that changes nothing does not touch the file.

    Feast may also read again in the middle of an apply, when its cache expires; what it has not committed yet is
    merged into what this store returns, where stock Feast would drop it and still report success.

    `path` may be absolute, relative to the repository, or a file:// URI. The folder must be on a local disk of one
    machine (locks of network file systems are not trusted).
    """

    def __init__(self, registry_config: RegistryConfig, repo_path: Path | None) -> None:
        path = Path(registry_config.path.removeprefix("file://"))
        # Feast's own file registry looks at `_filepath` to see when the file changed.
        self._filepath = path if path.is_absolute() else (repo_path or Path()).joinpath(path)
        self._reads: deque[tuple[Registry, Registry]] = deque(maxlen=REMEMBERED_READS)
        self._mutex = RLock()

    def get_registry_proto(self) -> Registry:
        """What is stored now, plus what Feast changed in the registry it got last and has not committed yet.

        Raises FileNotFoundError when there is no registry, DataError when the file is not one.
        """
        with self._mutex:
            stored = self._read()
            if stored is None:
                raise FileNotFoundError(f"{self._filepath}: expected a Feast registry, found no file. Run feast apply.")
            given = self._with_pending(stored)
            self._reads.append((given, _copy(stored)))
            return given

    def update_registry_proto(self, registry_proto: Registry) -> None:
        """Stores what changed in `registry_proto` since this store gave it out, and leaves the stored whole in it."""
        with self._mutex:
            base = next((read for given, read in reversed(self._reads) if given is registry_proto), Registry())
            with self._locked():
                stored = self._read()
                merged = merge(base, registry_proto, stored if stored is not None else Registry())
                if stored is None or not same_content(merged, stored):
                    self._stamp(merged)
                    self._write(merged)
            registry_proto.CopyFrom(merged)
            self._reads.append((registry_proto, _copy(merged)))

    def teardown(self) -> None:
        """Removes the registry file; the lock file stays, because another process may be waiting for it."""
        with self._mutex, self._locked():
            self._filepath.unlink(missing_ok=True)
            self._reads.clear()

    def set_project_metadata(self, project: str, key: str, value: str) -> None:
        """Stores one key of a project's own metadata, where Feast's file registry keeps it (JSON in project_uuid)."""
        with self._mutex, self._locked():
            stored = self._read() or Registry()
            found = next((item for item in stored.project_metadata if item.project == project), None)
            if found is None:
                stored.project_metadata.append(ProjectMetadata(project=project))
                found = stored.project_metadata[-1]
            found.project_uuid = json.dumps({**_metadata(found), key: value})
            self._stamp(stored)
            self._write(stored)

    def get_project_metadata(self, project: str, key: str) -> str | None:
        """One key of a project's own metadata, None when it was never set."""
        stored = self._read() or Registry()
        found = next((item for item in stored.project_metadata if item.project == project), None)
        return _metadata(found).get(key) if found is not None else None

    def _with_pending(self, stored: Registry) -> Registry:
        if not self._reads:
            return _copy(stored)
        given, base = self._reads[-1]
        return _copy(stored) if given == base else merge(base, given, stored)

    def _read(self) -> Registry | None:
        try:
            content = self._filepath.read_bytes()
        except FileNotFoundError:
            return None
        try:
            stored: Registry = Registry.FromString(content)
        except DecodeError as error:
            raise DataError(
                f"{self._filepath}: {len(content)} bytes that are not a Feast registry. Was it written by another "
                "registry store? Restore it from a copy, or remove it and apply every repository again."
            ) from error
        return stored

    def _stamp(self, registry: Registry) -> None:
        registry.version_id = str(uuid.uuid4())
        registry.last_updated.GetCurrentTime()

    def _write(self, registry: Registry) -> None:
        target = self._filepath.resolve()  # a symbolic link stays one
        aside = target.with_name(
            f"{target.name}.new"
        )  # one name: under the lock, whatever a killed writer left is dead
        with aside.open("wb") as file:
            file.write(registry.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            aside.chmod(target.stat().st_mode & 0o777)
        aside.replace(target)
        _sync_folder(target.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        target = self._filepath.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f"{target.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when the process dies
            yield


def _copy(registry: Registry) -> Registry:
    copy = Registry()
    copy.CopyFrom(registry)
    return copy


def _metadata(item: ProjectMetadata) -> dict[str, str]:
    try:
        content = json.loads(item.project_uuid or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
