"""All systems of the cluster environment at once: what could be started, how long it took, and why the rest could not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest

from tests.services.azurite import azurite
from tests.services.downloads import Unavailable
from tests.services.hdfs import hdfs
from tests.services.kafka import kafka
from tests.services.postgres import postgres
from tests.services.redis_secured import redis_secured
from tests.services.spark_cluster import spark_cluster

T = TypeVar("T")
Service: TypeAlias = Callable[[Path], AbstractContextManager[Any]]
SERVICES: dict[str, Service] = {
    "hdfs": hdfs,
    "spark": spark_cluster,
    "kafka": kafka,
    "azurite": azurite,
    "redis": redis_secured,
    "postgres": postgres,
}
AT_ONCE = 2
"""More servers starting side by side only make each other slower."""


@dataclass(frozen=True)
class Started:
    """One service: what its function gives, or None and the reason. `kind` is how real it is."""

    name: str
    service: Any
    seconds: float
    reason: str = ""
    kind: str = "real process on loopback"


@contextlib.contextmanager
def stack(folder: Path, services: Mapping[str, Service]) -> Iterator[dict[str, Started]]:
    """Start services side by side, each in a folder of its own; one that this machine cannot have is there as None."""
    with ExitStack() as running:

        def start(name: str) -> Started:
            began = time.monotonic()
            try:
                service = running.enter_context(services[name](folder / name))
            except Unavailable as error:
                return Started(name, None, time.monotonic() - began, str(error))
            return Started(name, service, time.monotonic() - began)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            yield {started.name: started for started in threads.map(start, services)}


@contextlib.contextmanager
def or_skip(service: AbstractContextManager[T]) -> Iterator[T]:
    """The service for a fixture or test, which is skipped with the reason when this machine cannot have it."""
    with ExitStack() as running:
        try:
            running_service = running.enter_context(service)
        except Unavailable as error:
            pytest.skip(f"not available: {error}")
        yield running_service
