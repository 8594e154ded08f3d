"""Avro files as Event Hubs Capture writes them, and environments whose weather is a stream."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro

from feature_pipelines.environment import Environment
from feature_pipelines.landing import LandingReport, land_day
from feature_pipelines.sources import source
from feature_pipelines.streams.source import StreamSource
from spark_jobs.interval import Interval
from tests.feature_pipelines.conftest import CONFIG
from tests.oracle_events import LIMITS, Message

CAPTURE_SCHEMA = {
    "type": "record",
    "name": "EventData",
    "namespace": "Microsoft.ServiceBus.Messaging",
    "fields": [
        {"name": "SequenceNumber", "type": "long"},
        {"name": "Offset", "type": "string"},
        {"name": "EnqueuedTimeUtc", "type": "string"},
        {"name": "SystemProperties", "type": {"type": "map", "values": ["long", "double", "string", "bytes"]}},
        {"name": "Properties", "type": {"type": "map", "values": ["long", "double", "string", "bytes", "null"]}},
        {"name": "Body", "type": ["null", "bytes"]},
    ],
}
STREAM = """
sources:
  weather: {settings}
"""


def stream_env(tmp_path: Path, settings: Mapping[str, str], name: str = "events") -> Environment:
    """An environment of its own, with lakes of its own, whose weather comes from the stream."""
    checkout, home = tmp_path / "checkout", tmp_path / f"home_{name}"
    folder = checkout / "feature_repo" / "environments" / name
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(CONFIG + STREAM.format(settings=json.dumps(settings)))
    return Environment(name, home, checkout, {"MY_FEAST_HOME": str(home)})


def capture_env(tmp_path: Path, name: str = "capture") -> Environment:
    settings = {"kind": "capture", "topic": "weather", "path": "lake://cloud/capture/ns/weather"}
    return stream_env(tmp_path, settings, name)


def capture_folder(env: Environment) -> Path:
    return env.home / "lakes" / "cloud" / "capture" / "ns" / "weather"


def write_capture(folder: Path, messages: Iterable[Message], *, first: int = 0) -> None:
    """Each partition's messages numbered from `first`, a file per quarter of an hour, with an empty file now and then."""
    partitions: dict[int, list[dict[str, Any]]] = {}
    for partition, enqueued, value in messages:
        records = partitions.setdefault(partition, [])
        records.append(record(first + len(records), enqueued, value))
    for partition, records in partitions.items():
        for named, some in itertools.groupby(records, window):
            write_file(folder, partition, named, list(some))
            if named.hour == 12:
                write_file(folder, partition, named + timedelta(seconds=1), [])


def window(record: Mapping[str, Any]) -> datetime:
    """When Capture began the file that holds the record."""
    return clock(record).replace(minute=clock(record).minute // 15 * 15, second=0)


def record(number: int, enqueued: datetime, value: bytes | None, **properties: Any) -> dict[str, Any]:
    return {
        "SequenceNumber": number,
        "Offset": str(number * 100),
        "EnqueuedTimeUtc": f"{enqueued:%m/%d/%Y %I:%M:%S %p}".removeprefix("0"),
        "SystemProperties": {},
        "Properties": properties,
        "Body": value,
    }


def clock(record: Mapping[str, Any]) -> datetime:
    return datetime.strptime(f"{record['EnqueuedTimeUtc']} +0000", "%m/%d/%Y %I:%M:%S %p %z")


def write_file(folder: Path, partition: int, named: datetime, records: list[dict[str, Any]]) -> Path:
    path = folder / str(partition) / f"{named:%Y/%m/%d/%H/%M/%S}.avro"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        fastavro.writer(stream, CAPTURE_SCHEMA, records, codec="deflate")
    return path


def weather_stream(env: Environment) -> StreamSource:
    found = source(env, "weather")
    assert isinstance(found, StreamSource)
    return found


def lands(env: Environment, day: str, **options: Any) -> LandingReport:
    return land_day(env, source(env, "weather"), Interval.day(day), **options)


def rows(env: Environment, table: str = "raw/weather") -> list[dict[str, Any]]:
    """Without partition columns, sorted as the oracle sorts."""
    ref = env.lakes.table("cloud", table)
    state = ref.state()
    found = ref.dataset(list(state.files), state.version).to_table().to_pylist()
    partitions = {"interval_start", "build"}
    plain = [{name: value for name, value in row.items() if name not in partitions} for row in found]
    return sorted(plain, key=lambda row: [str(row[name]) for name in ("origin", "observed_at", "known_at")])


def reading(observed: str, **changes: Any) -> bytes:
    """A message about that hour at EWR."""
    told = {"origin": "EWR", "observed_at": observed, **dict.fromkeys(LIMITS), "temp": 39.0}
    return json.dumps(told | changes).encode()
