"""Names of lakes turned into addresses: the registry says `lake://on_prem/features/x`, the environment says where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeAlias

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError
from feast_lakehouse.named import function_at
from feast_lakehouse.storage import check_address

SCHEME = "lake://"
Credentials: TypeAlias = Callable[[str], Mapping[str, str]]


class LakesConfig(Protocol):
    """What `Lakes.from_config` needs of an offline store configuration; `credentials`, a function's path, may be absent."""

    lakes: dict[str, str]
    storage_options: dict[str, dict[str, str]] | None


class StorageOptions(dict[str, str]):
    """Options for deltalake that know where they come from; `origin` is told in errors, such as "connection lake_1"."""

    def __init__(self, options: Mapping[str, str], *, origin: str) -> None:
        super().__init__(options)
        self.origin = origin


@dataclass(frozen=True)
class Lakes:
    """The lakes of one environment: `roots` maps a lake's name to its root URI or absolute path.

    `storage_options` maps a lake's name to the deltalake options that reach it; `credentials` is a function that is
    asked, once per lake and when a table of it is first wanted, for more of them. Options may hold secrets, so they come
    from the configuration or that function, never from the registry, and never show in `repr`. Raises DataError for a
    root that no storage has.
    """

    roots: Mapping[str, str]
    storage_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    credentials: Credentials | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.storage_options) - set(self.roots))
        if unknown:
            raise DataError(f"storage_options name lakes that have no root: {unknown}. Lakes: {sorted(self.roots)}.")
        for name, root in self.roots.items():
            check_address(root, place=f"lake {name}")
        roots = {name: root.rstrip("/") for name, root in self.roots.items()}
        object.__setattr__(self, "roots", MappingProxyType(roots))

    @classmethod
    def from_config(cls, config: LakesConfig) -> Lakes:
        """The lakes named in a `feast_lakehouse.offline_store` configuration."""
        path: str | None = getattr(config, "credentials", None)
        credentials = function_at(path, setting="offline_store.credentials") if path else None
        return cls(config.lakes, config.storage_options or {}, credentials)

    def table(self, lake: str, path: str) -> TableRef:
        """The table at `path` inside a lake. Raises DataError naming the known lakes for an unknown one."""
        root = self.roots.get(lake)
        if root is None:
            raise DataError(f"Unknown lake {lake!r} for {path!r}. Lakes of this environment: {sorted(self.roots)}.")
        parts = path.strip("/").split("/")
        if not all(parts) or ".." in parts:
            raise DataError(f"{SCHEME}{lake}/{path}: expected a path inside the lake, such as features/aircraft_daily.")
        return self._ref(f"{root}/{'/'.join(parts)}", lake)

    def resolve(self, address: str, repo_path: Path | None = None) -> TableRef:
        """The table at `lake://<lake>/<path>`, at a plain URI, or at a path (relative ones start at `repo_path`).

        A plain URI below a lake's root is reached with that lake's storage options.
        """
        if address.startswith(SCHEME):
            lake, _, path = address.removeprefix(SCHEME).partition("/")
            return self.table(lake, path)
        if "://" not in address and not Path(address).is_absolute():
            address = str((repo_path or Path()).absolute() / address)
        owners = [name for name, root in self.roots.items() if f"{address}/".startswith(f"{root}/")]
        if not owners:
            return TableRef(address)
        return self._ref(address, max(owners, key=lambda name: len(self.roots[name])))

    def options(self, lake: str) -> StorageOptions:
        """The deltalake options of a lake: those that the credentials function gives over those of the configuration."""
        if lake not in self._given:
            given = self.credentials(lake) if self.credentials else {}
            origin = given.origin if isinstance(given, StorageOptions) else ""
            self._given[lake] = StorageOptions({**self.storage_options.get(lake, {}), **given}, origin=origin)
        return self._given[lake]

    @cached_property
    def _given(self) -> dict[str, StorageOptions]:
        return {}

    def _ref(self, uri: str, lake: str) -> TableRef:
        options = self.options(lake)
        return TableRef(uri, dict(options), ", ".join(part for part in (f"lake {lake}", options.origin) if part))
