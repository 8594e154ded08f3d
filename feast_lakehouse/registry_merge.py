"""Three-way merge of Feast registries: what a writer changed since it read, applied to what is stored now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from feast.protos.feast.core.Registry_pb2 import Registry
from google.protobuf.message import Message

COLLECTIONS: Final = tuple(
    field.name for field in Registry.DESCRIPTOR.fields if field.is_repeated and field.message_type is not None
)
NESTED_COLLECTIONS: Final = (("infra", "infra_objects"), ("feature_view_version_history", "records"))
UNION_FIELDS: Final = frozenset({"materialization_intervals"})
STAMPS: Final = ("version_id", "last_updated")
"""Fields every write sets anew: no change by themselves."""

Key = tuple[object, ...]


def merge(base: Registry, mine: Registry, theirs: Registry) -> Registry:
    """The registry after a writer that read `base` and made it `mine` acts on `theirs`, which is stored now.

    Object by object (kind, project, name):
    - untouched by this writer: as stored, so a deletion elsewhere is not undone and an addition is not lost;
    - deleted by this writer: gone, even when it was changed elsewhere;
    - added or changed by this writer: its definition (`spec`) wins as a whole, the later acknowledged writer being
      this one; of `meta` only the fields this writer changed, and materialization intervals of both are kept;
    - deleted elsewhere while this writer only recorded a materialization of it: stays deleted.

    The order is this writer's, then what only the store has. Inputs are not changed.
    """
    merged = Registry()
    merged.CopyFrom(mine)
    for name in COLLECTIONS:
        _merge_collection(merged, base, mine, theirs, name)
    for parent, name in NESTED_COLLECTIONS:
        parts = [getattr(side, parent) for side in (merged, base, mine, theirs)]
        if any(getattr(part, name) for part in parts):
            _merge_collection(parts[0], parts[1], parts[2], parts[3], name)
    if mine.registry_schema_version == base.registry_schema_version and theirs.registry_schema_version:
        merged.registry_schema_version = theirs.registry_schema_version
    return merged


def same_content(left: Registry, right: Registry) -> bool:
    """Whether two registries hold the same objects, whenever and by whomever they were written."""
    return _without_stamps(left) == _without_stamps(right)


def _without_stamps(registry: Registry) -> bytes:
    copy = Registry()
    copy.CopyFrom(registry)
    for name in STAMPS:
        copy.ClearField(name)
    for name in COLLECTIONS:
        _replace(getattr(copy, name), sorted(getattr(copy, name), key=lambda item: repr(_key(item))))
    return bytes(copy.SerializeToString(deterministic=True))


def _merge_collection(merged: Any, base: Any, mine: Any, theirs: Any, name: str) -> None:
    before, wanted, stored = (_by_key(getattr(side, name)) for side in (base, mine, theirs))
    order = [*wanted, *(key for key in stored if key not in wanted)]
    results = (_merge_object(before.get(key), wanted.get(key), stored.get(key)) for key in order)
    _replace(getattr(merged, name), [result for result in results if result is not None])


def _merge_object(before: Message | None, wanted: Message | None, stored: Message | None) -> Message | None:
    if wanted == before:
        return stored
    if wanted is None:
        return None
    if before is None or stored == before:
        return wanted
    if stored is None:
        return None if _only_materialized(before, wanted) else wanted
    if not _has_meta(wanted):
        return wanted
    return _merge_parts(before, wanted, stored)


def _merge_parts(before: Any, wanted: Any, stored: Any) -> Message:
    merged: Any = type(wanted)()
    merged.CopyFrom(stored if wanted.spec == before.spec else wanted)
    merged.meta.CopyFrom(stored.meta)
    for field in wanted.meta.DESCRIPTOR.fields:
        name = field.name
        values = [getattr(side.meta, name) for side in (before, wanted, stored)]
        if name in UNION_FIELDS:
            _replace(getattr(merged.meta, name), _union(values[0], values[1], values[2]))
        elif values[0] != values[1]:
            _set_field(merged.meta, wanted.meta, field)
    return cast(Message, merged)


def _set_field(target: Any, source: Any, field: Any) -> None:
    value = getattr(source, field.name)
    if field.is_repeated:
        _replace(getattr(target, field.name), value)
    elif field.message_type is not None:
        getattr(target, field.name).CopyFrom(value)
    else:
        setattr(target, field.name, value)


def _union(before: Iterable[Message], wanted: Iterable[Message], stored: Iterable[Message]) -> list[Message]:
    """What is stored, without what this writer removed, with what it added."""
    known, mine = list(before), list(wanted)
    kept = [item for item in stored if item in mine or item not in known]
    return kept + [item for item in mine if item not in known and item not in kept]


def _only_materialized(before: Any, wanted: Any) -> bool:
    if not _has_meta(wanted) or before.spec != wanted.spec:
        return False
    names = {"materialization_intervals", "state"} & set(wanted.meta.DESCRIPTOR.fields_by_name)
    return any(getattr(before.meta, name) != getattr(wanted.meta, name) for name in names)


def _has_meta(item: Message) -> bool:
    return {"spec", "meta"} <= set(item.DESCRIPTOR.fields_by_name)


def _by_key(items: Iterable[Message]) -> dict[Key, Message]:
    return {_key(item): item for item in items}


def _key(item: Any) -> Key:
    names = item.DESCRIPTOR.fields_by_name
    if "spec" in names:
        return (
            (item.spec.project, item.spec.name)
            if "project" in item.spec.DESCRIPTOR.fields_by_name
            else (item.spec.name,)
        )
    identity = ("project", "project_id", "feature_view_name", "version_number", "infra_object_class_type", "name")
    found = tuple(getattr(item, name) for name in identity if name in names)
    return found if "infra_object_class_type" not in names else (*found, item.SerializeToString(deterministic=True))


def _replace(target: Any, items: Iterable[Message]) -> None:
    copies = []
    for item in items:
        copy = type(item)()
        copy.CopyFrom(item)
        copies.append(copy)
    del target[:]
    target.extend(copies)
