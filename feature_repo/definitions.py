"""What Feast knows: one view per feature table of spark_jobs, their entities, and the services built on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

from spark_jobs.contract import EVENT_TIMESTAMP, Column, ContractError, FeatureTable
from spark_jobs.features import feature_tables

FIELD_TYPES: dict[str, Any] = {
    "string": String,
    "int32": Int32,
    "int64": Int64,
    "float32": Float32,
    "float64": Float64,
    "bool": Bool,
    "timestamp": UnixTimestamp,
}
KEY_TYPES = {"string": ValueType.STRING, "int32": ValueType.INT32, "int64": ValueType.INT64}

SERVICES = {
    "departure_delay_v1": ("aircraft_daily", "route_performance", "airport_hourly", "airport_weather_hourly"),
}
"""Feature services: the views a model version reads, by name. A changed list is a new version of the service."""


def entities(tables: dict[str, FeatureTable]) -> dict[str, Entity]:
    """One entity per key column name: tables that share a key share the entity. Raises ContractError for two types."""
    keys: dict[str, Column] = {}
    for table in tables.values():
        for key in table.keys:
            known = keys.setdefault(key.name, key)
            if known.dtype != key.dtype:
                raise ContractError(f"{table.name}: key {key.name} is {key.dtype}, in another table {known.dtype}")
    return {
        name: Entity(name=name, join_keys=[name], value_type=KEY_TYPES[key.dtype], description=key.description)
        for name, key in keys.items()
    }


def view(table: FeatureTable, by_key: dict[str, Entity]) -> FeatureView:
    """The view of a table; its source names the lake, and each environment says where that is."""
    tags = {"lake": table.lake}
    source = FileSource(
        name=table.name,
        path=f"lake://{table.lake}/features/{table.name}",
        file_format=DeltaFormat(),
        timestamp_field=EVENT_TIMESTAMP,
        description=table.description,
        owner=table.owner,
        tags=tags,
    )
    return FeatureView(
        name=table.name,
        source=source,
        entities=[by_key[key.name] for key in table.keys],
        schema=[field(column) for column in (*table.keys, *table.features)],
        ttl=table.ttl or timedelta(0),
        description=table.description,
        owner=table.owner,
        tags=tags,
    )


def field(column: Column) -> Field:
    """A column as Feast knows it; the unit is a tag."""
    tags = {"unit": column.unit} if column.unit else {}
    return Field(name=column.name, dtype=FIELD_TYPES[column.dtype], description=column.description, tags=tags)


def objects() -> dict[str, Any]:
    """Everything to register, by a name that is unique in this module."""
    tables = feature_tables()
    by_key = entities(tables)
    views = {name: view(table, by_key) for name, table in tables.items()}
    services = {
        name: FeatureService(name=name, features=[views[each] for each in members])
        for name, members in SERVICES.items()
    }
    return {
        **{f"entity_{name}": entity for name, entity in by_key.items()},
        **{f"view_{name}": each for name, each in views.items()},
        **{f"service_{name}": service for name, service in services.items()},
    }


# Feast registers what it finds among a module's attributes.
globals().update(objects())
