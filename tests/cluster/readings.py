"""The weather as the event stream tells it, read and judged here anew: what the oracle works from in this environment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

TOPIC = "weather"
NUMBERS = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
MOST_WIND = 200.0


def readings(client: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Readings that may land, each once: (airport, hour) at the first time it was told; with `known_at`.

    `client` holds the settings of a confluent_kafka client.
    """
    told = [reading for message in records(client) if (reading := _reading(message)) is not None]
    first: dict[tuple[str, datetime], dict[str, Any]] = {}
    for reading in sorted(told, key=lambda each: each["known_at"]):
        first.setdefault((reading["origin"], reading["observed_at"]), reading)
    return list(first.values())


def records(client: Mapping[str, Any]) -> Iterator[Message]:
    """Every record of the topic."""
    consumer = Consumer({**client, "group.id": "oracle", "enable.auto.commit": False})
    try:
        partitions = list(consumer.list_topics(TOPIC, timeout=20).topics[TOPIC].partitions)
        ends = {each: consumer.get_watermark_offsets(TopicPartition(TOPIC, each), timeout=20)[1] for each in partitions}
        for partition, end in ends.items():
            if not end:
                continue
            consumer.assign([TopicPartition(TOPIC, partition, 0)])
            while True:
                message = consumer.poll(20)
                assert message is not None
                assert message.error() is None
                yield message
                if (message.offset() or 0) + 1 >= end:
                    break
    finally:
        consumer.close()


def _reading(message: Message) -> dict[str, Any] | None:
    """None for a heartbeat, a record that is no reading, and a reading outside its limits."""
    try:
        value = json.loads(message.value() or b"")
        numbers = {name: value[name] if value[name] is None else float(value[name]) for name in NUMBERS}
        observed = datetime.fromisoformat(value["observed_at"])
    except (ValueError, KeyError, TypeError):
        return None
    if (numbers["wind_speed"] or 0.0) > MOST_WIND:
        return None
    known = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    return {"origin": value["origin"], "observed_at": observed, "known_at": known, **numbers}
