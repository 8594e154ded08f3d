"""Names of lakes turned into addresses: the registry says `lake://on_prem/features/x`, the environment says where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError

SCHEME = "lake://"


class LakesConfig(Protocol):
    """What `Lakes.from_config` needs of an offline store configuration."""

    lakes: dict[str, str]
    storage_options: dict[str, dict[str, str]] | None


@dataclass(frozen=True)
class Lakes:
    """The lakes of one environment: `roots` maps a lake's name to its root URI or absolute path.

    `storage_options` maps a lake's name to the deltalake options that reach it. They may hold secrets, so they come
    from the configuration or the environment, never from the registry, and never show in `repr`.
    """

    roots: Mapping[str, str]
    storage_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.storage_options) - set(self.roots))
        if unknown:
            raise DataError(f"storage_options name lakes that have no root: {unknown}. Lakes: {sorted(self.roots)}.")
        roots = {name: root.rstrip("/") for name, root in self.roots.items()}
        object.__setattr__(self, "roots", MappingProxyType(roots))

    @classmethod
    def from_config(cls, config: LakesConfig) -> Lakes:
        """The lakes named in a `feast_lakehouse.offline_store` configuration."""
        return cls(config.lakes, config.storage_options or {})

    def table(self, lake: str, path: str) -> TableRef:
        """The table at `path` inside a lake. Raises DataError naming the known lakes for an unknown one."""
        root = self.roots.get(lake)
        if root is None:
            raise DataError(f"Unknown lake {lake!r} for {path!r}. Lakes of this environment: {sorted(self.roots)}.")
        parts = path.strip("/").split("/")
        if not all(parts) or ".." in parts:
            raise DataError(f"{SCHEME}{lake}/{path}: expected a path inside the lake, such as features/aircraft_daily.")
        return TableRef(f"{root}/{'/'.join(parts)}", dict(self.storage_options.get(lake, {})))

    def resolve(self, address: str, repo_path: Path | None = None) -> TableRef:
        """The table at `lake://<lake>/<path>`, at a plain URI, or at a path (relative ones start at `repo_path`).

        A plain URI below a lake's root is reached with that lake's storage options.
        """
        if address.startswith(SCHEME):
            lake, _, path = address.removeprefix(SCHEME).partition("/")
            return self.table(lake, path)
        if "://" not in address and not Path(address).is_absolute():
            address = str((repo_path or Path()).absolute() / address)
        return TableRef(address, self._options_below_root(address))

    def _options_below_root(self, address: str) -> dict[str, str]:
        owners = [name for name, root in self.roots.items() if f"{address}/".startswith(f"{root}/")]
        nearest = max(owners, key=lambda name: len(self.roots[name]), default="")
        return dict(self.storage_options.get(nearest, {}))
