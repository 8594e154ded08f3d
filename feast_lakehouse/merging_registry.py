"""What every registry of ours does, wherever its bytes are: compare-and-swap, and a merge when somebody was faster."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from types import FrameType
from typing import Final

from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.Registry_pb2 import ProjectMetadata, Registry
from google.protobuf.message import DecodeError

from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.registry_merge import merge, same_content

REMEMBERED_READS: Final = 4
ATTEMPTS: Final = 40
"""Each means that another writer was acknowledged meanwhile; with pauses of up to a second between them."""

APPLY: Final = "FeatureStore.apply"
"""Feast tells a registry store neither where an apply begins nor that it raised: whether it still runs is seen in the calls."""


@dataclass(frozen=True)
class Stored:
    """What was found: the registry (None: there is none) and the tag that a write must still find there."""

    registry: Registry | None
    tag: str | None = None


class MergingRegistryStore(RegistryStore, ABC):
    """Feast changes the registry it was given in memory and hands it back to be stored.

    This store remembers what it gave, so a write is a three-way merge (see registry_merge) with what is stored by then,
    written only if nobody wrote in between. No acknowledged apply is lost, nothing deleted comes back; a write that
    changes nothing does not happen.

    Feast may also read again in the middle of an apply, when its cache expires; what it has not committed yet is
    merged into what this store returns, where stock Feast would drop it and still report success. What an apply that
    raised left behind is dropped by the next read; every apply, and every materialization, begins with one.
    """

    place: str
    """Where the registry is, in errors."""

    kind = "registry"
    """What is missing there when nothing is."""

    def __init__(self) -> None:
        self._reads: deque[tuple[Registry, Registry]] = deque(maxlen=REMEMBERED_READS)
        self._apply: FrameType | None = None
        self._mutex = RLock()

    @abstractmethod
    def _read(self) -> Stored:
        """What is stored now."""

    @abstractmethod
    def _swap(self, content: bytes, seen: Stored) -> bool:
        """Stores the content if what was seen is still there; whether it did."""

    @abstractmethod
    def _remove(self) -> None:
        """Removes the registry; it may be gone already."""

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Around a read and the write that follows from it; a store with a lock takes it here."""
        yield

    def _expected(self) -> Stored:
        """What a first attempt to write may take to be stored; a store whose swap tells may answer from memory."""
        return self._read()

    def get_registry_proto(self) -> Registry:
        """What is stored now, plus what Feast changed in the registry it got last and has not committed yet.

        Raises FileNotFoundError when there is no registry, DataError when what is there is not one.
        """
        with self._mutex:
            stored = self._read().registry
            if stored is None:
                raise FileNotFoundError(
                    f"{self.place}: expected a Feast registry, found no {self.kind}. Run feast apply."
                )
            if self._is_pending():
                changed, base = self._reads[-1]
                given = merge(base, changed, stored)
            else:
                given, self._apply = _copy(stored), _apply_of_this_thread()
            self._reads.append((given, _copy(stored)))
            return given

    def update_registry_proto(self, registry_proto: Registry) -> None:
        """Stores what changed in `registry_proto` since this store gave it out, and leaves the stored whole in it."""
        with self._mutex:
            base = next((read for given, read in reversed(self._reads) if given is registry_proto), Registry())
            try:
                merged = self._change(lambda stored: merge(base, registry_proto, stored))
            except BaseException:
                registry_proto.CopyFrom(base)  # the caller is told that nothing was stored: nor may it be later
                raise
            registry_proto.CopyFrom(merged)
            self._apply = _apply_of_this_thread()
            self._reads.append((registry_proto, _copy(merged)))

    def teardown(self) -> None:
        """Removes the registry."""
        with self._mutex, self._exclusive():
            self._remove()
            self._reads.clear()

    def set_project_metadata(self, project: str, key: str, value: str) -> None:
        """Stores one key of a project's own metadata, where Feast's file registry keeps it (JSON in project_uuid)."""

        def change(stored: Registry) -> Registry:
            changed = _copy(stored)
            found = next((item for item in changed.project_metadata if item.project == project), None)
            if found is None:
                changed.project_metadata.append(ProjectMetadata(project=project))
                found = changed.project_metadata[-1]
            found.project_uuid = json.dumps({**_metadata(found), key: value})
            return changed

        with self._mutex:
            self._change(change)

    def get_project_metadata(self, project: str, key: str) -> str | None:
        """One key of a project's own metadata, None when it was never set."""
        stored = self._read().registry or Registry()
        found = next((item for item in stored.project_metadata if item.project == project), None)
        return _metadata(found).get(key) if found is not None else None

    def _change(self, change: Callable[[Registry], Registry]) -> Registry:
        """What is stored after `change` was made to it; made again from what is stored by then as often as needed."""
        for attempt in range(ATTEMPTS):
            with self._exclusive():
                seen = self._expected() if attempt == 0 else self._read()
                wanted = change(seen.registry or Registry())
                if seen.registry is not None and same_content(wanted, seen.registry):
                    return wanted
                wanted.version_id = str(uuid.uuid4())
                wanted.last_updated.GetCurrentTime()
                if self._swap(wanted.SerializeToString(), seen):
                    return wanted
            time.sleep(min(1.0, 0.05 * 2**attempt) * (0.25 + os.urandom(1)[0] / 256))
        raise TransportError(
            f"{self.place}: others wrote the registry {ATTEMPTS} times while this apply was being stored; nothing of it was. "
            "Apply again, and see who applies all the time."
        )

    def _parsed(self, content: bytes) -> Registry:
        """Raises DataError for bytes that are no registry."""
        try:
            registry: Registry = Registry.FromString(content)
        except DecodeError as error:
            raise DataError(
                f"{self.place}: {len(content)} bytes that are not a Feast registry. Was it written by another "
                "registry store? Restore it from a copy, or remove it and apply every repository again."
            ) from error
        return registry

    def _is_pending(self) -> bool:
        """Whether Feast changed what it got last, and may still commit that: the apply that got it, if any, still runs."""
        if not self._reads or self._reads[-1][0] == self._reads[-1][1]:
            return False
        threads = sys._current_frames().values()  # noqa: SLF001 - documented, whatever its name
        return self._apply is None or any(self._apply in _calls(innermost) for innermost in threads)


def _apply_of_this_thread() -> FrameType | None:
    mine = _calls(sys._getframe())  # noqa: SLF001 - documented, whatever its name
    return next((call for call in mine if call.f_code.co_qualname == APPLY), None)


def _calls(innermost: FrameType) -> Iterator[FrameType]:
    """What a thread is doing now, from its innermost call to its outermost."""
    return (call for call, _ in traceback.walk_stack(innermost))


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
