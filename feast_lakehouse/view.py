"""What the engine must know of a feature view: its names in Redis, its columns, its time to live."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import mmh3
from feast import FeatureView, RepoConfig
from feast.feature_view import DUMMY_ENTITY_ID
from feast.types import Array, PrimitiveFeastType

from feast_lakehouse.errors import DataError
from feast_lakehouse.keys import KEY_TYPES
from feast_lakehouse.values import VALUE_TYPES

CLOCK_SKEW_MICROS = 300 * 1_000_000
"""How far in the future the event time of a push may lie before it is refused: five minutes."""


@dataclass(frozen=True)
class View:
    """One feature view of one project. `keys` and `features` are (name, Feast value type) pairs; names as Feast serves them.

    `columns` maps those names and the timestamp to the source's columns where they differ. `created` is the column that
    decides between rows of one key and event time, "" for none.
    """

    project: str
    name: str
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]
    timestamp: str
    ttl_seconds: float = 0
    columns: tuple[tuple[str, str], ...] = ()
    created: str = ""

    def column(self, name: str) -> str:
        """The source column behind a served name."""
        return dict(self.columns).get(name, name)

    @cached_property
    def fields(self) -> tuple[bytes, ...]:
        """Redis hash fields of the features, in order: Feast's 4-byte little-endian murmur3 of `view:feature`."""
        return tuple(feature_field(self.name, feature) for feature, _ in self.features)

    @property
    def timestamp_field(self) -> bytes:
        """Feast's own hash field for the event time."""
        return f"_ts:{self.name}".encode()

    @property
    def order_field(self) -> bytes:
        """The hash field that decides which of two rows is newer; Feast ignores it."""
        return f"_order:{self.name}".encode()

    @property
    def width(self) -> int:
        """How many hash fields a row has: its features, its event time and its order."""
        return len(self.features) + 2

    @property
    def layout(self) -> str:
        """A hash of all that decides which bytes a row becomes, which row counts and how long it is served."""
        described = [self.keys, self.features, self.timestamp, self.ttl_seconds, self.columns]
        described += [self.created] if self.created else []
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def feature_field(view: str, feature: str) -> bytes:
    """The Redis hash field of a feature."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def view_of(config: RepoConfig, feature_view: FeatureView) -> View:
    """Describe a Feast view. Raises DataError naming everything about it that cannot be kept exactly."""
    source = feature_view.batch_source
    if source is None:
        raise DataError(f"{feature_view.name}: expected a batch source over a Delta table, found none.")
    if config.registry.enable_online_feature_view_versioning:
        raise DataError(
            f"{feature_view.name}: expected enable_online_feature_view_versioning: false, found true. "
            "Online versions of views are not supported: the record in Redis knows one layout of a view."
        )
    mapped = {served: column for column, served in source.field_mapping.items()}
    keys = tuple((field.name, _type(field.dtype)) for field in feature_view.entity_columns)
    features = tuple((field.name, _type(field.dtype)) for field in feature_view.features)
    view = View(
        config.project,
        feature_view.name,
        keys or ((DUMMY_ENTITY_ID, "string"),),
        features,
        source.timestamp_field,
        feature_view.ttl.total_seconds() if feature_view.ttl else 0,
        tuple(sorted(mapped.items())),
        source.created_timestamp_column or "",
    )
    _refuse_what_cannot_be_kept(view)
    return view


def _type(dtype: object) -> str:
    if isinstance(dtype, Array):
        return f"list<{_type(dtype.base_type)}>"
    return dtype.name.lower() if isinstance(dtype, PrimitiveFeastType) else str(dtype)


def _refuse_what_cannot_be_kept(view: View) -> None:
    broken = [
        f"join key {n}: type {t}, expected one of {_listed(KEY_TYPES)}" for n, t in view.keys if t not in KEY_TYPES
    ]
    broken += [
        f"feature {n}: type {t}, expected one of {_listed(VALUE_TYPES)}"
        for n, t in view.features
        if t not in VALUE_TYPES
    ]
    broken += collisions([view])
    if broken:
        raise DataError(f"{view.name}: {len(broken)} fields cannot be kept in Redis\n  " + "\n  ".join(broken))


def collisions(views: Sequence[View]) -> list[str]:
    """Sentences for features whose 4-byte fields collide within one entity, where one would overwrite the other."""
    seen: dict[tuple[str, tuple[str, ...], bytes], str] = {}
    found = []
    for view in views:
        join_keys = tuple(sorted(name for name, _ in view.keys))
        for (feature, _), field in zip(view.features, view.fields, strict=True):
            label = f"{view.name}:{feature}"
            other = seen.setdefault((view.project, join_keys, field), label)
            if other != label:
                found.append(f"{label} and {other} share the Redis hash field {field.hex()}; rename one of them")
    return found


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
