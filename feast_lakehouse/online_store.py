"""Feast's Redis online store, made exact: pushes obey the batches' order, ttl holds on read, deletes stay in their project.

Its bytes are Feast's own, so Feast's other servers (Go, Java, another Python) read it unchanged. Set in feature_store.yaml:
`online_store: {type: feast_lakehouse.online_store.LakehouseRedisOnlineStore, connection_string: "host:port,…"}`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from feast import Entity, FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisClient, RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from redis import Redis
from typing_extensions import override

from feast_lakehouse import record
from feast_lakehouse.connection import (
    ConnectionSettings,
    async_client_of,
    client_of,
    parse_connection_string,
)
from feast_lakehouse.encoding import MICROS
from feast_lakehouse.errors import DataError, LakehouseError
from feast_lakehouse.push import PushedRow, push_rows
from feast_lakehouse.reading import read_hashes
from feast_lakehouse.server import Server
from feast_lakehouse.sweep import SCAN_COUNT, keys_of
from feast_lakehouse.view import View, feature_field, view_of
from feast_lakehouse.wire import reachable

logger = logging.getLogger(__name__)

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
Found = tuple[datetime | None, dict[str, Value] | None]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LakehouseRedisOnlineStoreConfig(ConnectionSettings):
    """What `online_store` holds in the yaml; Feast looks for it here, beside the store."""

    type: Literal["feast_lakehouse.online_store.LakehouseRedisOnlineStore"] = (
        "feast_lakehouse.online_store.LakehouseRedisOnlineStore"  # type: ignore[assignment]
    )


class LakehouseRedisOnlineStore(RedisOnlineStore):
    """Feast's Redis store whose every write is atomic and newest-wins."""

    def __init__(self) -> None:
        super().__init__()
        self._ttl: dict[str, float] = {}

    def redis(self, config: RepoConfig) -> Redis:
        """The client for one server. Raises DataError for what the engine cannot write yet."""
        _refuse_unsupported(config.online_store)
        client: Redis = self._get_client(config.online_store)
        return client

    def _get_client(self, online_store_config: RedisOnlineStoreConfig) -> Any:
        if self._client is None and online_store_config.redis_type == RedisType.redis:
            self._client = client_of(online_store_config)
        return super()._get_client(online_store_config)

    async def _get_client_async(self, online_store_config: RedisOnlineStoreConfig) -> Any:
        if self._client_async is None and online_store_config.redis_type == RedisType.redis:
            self._client_async = async_client_of(online_store_config)
        return await super()._get_client_async(online_store_config)

    async def close(self) -> None:
        """Close the event loop's connections, which Feast's own store leaves open."""
        client, self._client_async = self._client_async, None
        if client is not None:
            await client.aclose()

    @staticmethod
    def _parse_connection_string(connection_string: str) -> tuple[list[dict[str, str]], dict[str, Any]]:
        return parse_connection_string(connection_string)

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """Push rows. See feast_lakehouse.push.push_rows for what wins and what is refused."""
        view, client = view_of(config, table), self.redis(config)
        with reachable(f"pushing to {view.name}"):
            push_rows(client, view, [_pushed(config, row) for row in data], now=_now_micros(), progress=progress)

    async def online_write_batch_async(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """As online_write_batch, beside the event loop."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    @override
    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Refuse at apply a server that may throw away any key. Where nobody answers or may ask, each run looks."""
        _refuse_unsupported(config.online_store)
        if tables_to_keep:
            try:
                with reachable("asking for its eviction policy"):
                    server = Server.of(self.redis(config))
            except LakehouseError as error:
                logger.warning("%s; the next materialization asks again.", error)
            else:
                server.refuse_eviction()
        super().update(config, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial)

    def delete_table(self, config: RepoConfig, table: FeatureView) -> None:
        """Take a view out of Redis: its record first, so that no run at work writes on, then its fields, key by key."""
        view, client = view_of(config, table), self.redis(config)
        with reachable(f"deleting {view.name}"):
            held = record.read(client, view).record
            record.drop(client, view)
            fields = {*view.fields, *(held.fields if held else ()), view.timestamp_field, view.order_field}
            _each_key(client, view, lambda pipe, key: pipe.hdel(key, *fields))

    @override
    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Any) -> None:
        """Take every view of the project out of Redis, and nothing of another project whose name ends alike."""
        for table in tables:
            self.delete_table(config, table)

    def _generate_hset_keys_for_features(
        self,
        feature_view: FeatureView,
        requested_features: list[str] | None = None,
        fv_name_override: str | None = None,
    ) -> tuple[list[str], list[str | bytes]]:
        # Every read of Feast's store comes through here with the view and, right after, through
        # _convert_redis_values_to_protobuf without it: remember how long the view's rows are served.
        view = fv_name_override or feature_view.name
        self._ttl[view] = feature_view.ttl.total_seconds() if feature_view.ttl else 0
        # As in Feast's store, which hashes every name again in every request, and whose callers expect the timestamp's
        # name at the end of the very list they gave.
        names = requested_features or [field.name for field in feature_view.features]
        fields: list[str | bytes] = [_field(view, name) for name in names]
        names.append(f"_ts:{view}")
        return names, [*fields, names[-1]]

    @override
    def _read_hash_fields(self, config: RepoConfig, commands: list[tuple[bytes, list[str | bytes]]]) -> list[Any]:
        settings = config.online_store
        if settings.client == RedisClient.glide or settings.redis_type != RedisType.redis:
            return super()._read_hash_fields(config, commands)
        return read_hashes(self._get_client(settings), commands)

    def _convert_redis_values_to_protobuf(
        self, redis_values: Sequence[Sequence[Any]], feature_view: str, requested_features: list[str]
    ) -> list[Found]:
        ttl = self._ttl.get(feature_view, 0)
        oldest = (_now_micros() - round(ttl * MICROS)) / MICROS if ttl else None
        return [_found(list(row), requested_features, oldest) for row in redis_values]


def _refuse_unsupported(settings: RedisOnlineStoreConfig) -> None:
    """Raise DataError for cluster and sentinel, and for keys that expire."""
    if settings.redis_type != RedisType.redis:
        raise DataError(
            f"online_store.redis_type: expected redis, found {settings.redis_type.value}; not supported yet."
        )
    if settings.key_ttl_seconds:
        raise DataError(
            f"online_store.key_ttl_seconds: expected none, found {settings.key_ttl_seconds}. Redis would drop keys that "
            "the record says are there; set ttl on the feature view instead, it is honoured on every read."
        )


def _found(cells: list[bytes | None], names: Sequence[str], oldest: float | None) -> Found:
    """A row as Feast's store gives it: the last cell is its event time; a key that is not there has the time zero.

    Nothing for a row before `oldest` (seconds since 1970 UTC).
    """
    stamp = Timestamp.FromString(cells.pop() or b"")
    seconds = stamp.seconds + stamp.nanos / 1_000_000_000
    if not cells or (oldest is not None and seconds < oldest):
        return None, None
    parse = Value.FromString
    values = {name: parse(cell or b"") for name, cell in zip(names, cells, strict=False)}
    return datetime.fromtimestamp(seconds, UTC), values


_field = lru_cache(maxsize=65_536)(feature_field)


def _now_micros() -> int:
    return _micros(datetime.now(UTC))  # noqa: TID251 — what may be served or pushed does depend on the clock


def _micros(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROS + since.microseconds


def _pushed(config: RepoConfig, row: Row) -> PushedRow:
    entity_key, values, event_time, _ = row
    key = serialize_entity_key(entity_key, config.entity_key_serialization_version) + config.project.encode()
    return PushedRow(key, _micros(event_time), {name: value.SerializeToString() for name, value in values.items()})


def _each_key(client: Redis, view: View, act: Callable[[Any, bytes], object]) -> None:
    keys = keys_of(client, view)
    while chunk := list(islice(keys, SCAN_COUNT)):
        with client.pipeline(transaction=False) as pipe:
            for key in chunk:
                act(pipe, key)
            pipe.execute()
