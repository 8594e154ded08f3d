"""A small world for the real engine: a Delta table, a Redis, runs that are killed or paused, and what must be true of it.

The oracle knows only the rows that were published and pushed; it shares no code with the engine.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import redis
from deltalake import DeltaTable, write_deltalake
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import LakehouseError
from feast_lakehouse.materialize import Run, materialize_view
from feast_lakehouse.pace import Pace
from feast_lakehouse.push import PushedRow, push_rows
from feast_lakehouse.view import View

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
KEYS = "abc"
VIEW = View("p", "v", (("id", "string"),), (("one", "int64"), ("two", "int64")), "ts")
INTERVALS = 3
TIMES = 4

Fact = tuple[int, int]
"""(event time in seconds after EPOCH, value)."""
Content = dict[int, dict[str, Fact]]
"""Interval to key to row."""


class KilledError(BaseException):
    """What a SIGKILL is to a process: nothing of ours may catch it."""


@dataclass
class Zombie:
    """A run in a thread of its own, paused before one of its writes."""

    thread: threading.Thread
    paused: threading.Event
    go: threading.Event
    die: bool = False

    def end(self, *, die: bool) -> None:
        self.die = die
        self.go.set()
        self.thread.join(timeout=300)
        assert not self.thread.is_alive()


@dataclass
class World:
    """Table, Redis and oracle."""

    folder: Path
    client: redis.Redis
    view: View = VIEW
    versions: list[Content] = field(default_factory=list)
    alive: dict[str, Fact] = field(default_factory=dict)
    pushed: dict[str, set[Fact]] = field(default_factory=lambda: {key: set() for key in KEYS})
    zombies: list[Zombie] = field(default_factory=list)
    saved: dict[bytes, bytes] | None = None
    incarnation: int = 0
    value: int = 0
    somebody_reads: bool = False

    def __post_init__(self) -> None:
        self.reader = redis.Redis(**self.client.get_connection_kwargs())

    @property
    def ref(self) -> TableRef:
        return TableRef(str(self.folder / str(self.incarnation)))

    # ---- the lake

    def publish(self, interval: int, rows: dict[str, int]) -> None:
        """Overwrite an interval with rows of (key, offset in the interval); every value is new."""
        content = {
            **(self.versions[-1] if self.versions else {}),
            interval: {k: self._fact(interval, t) for k, t in rows.items()},
        }
        facts = content[interval]
        table = pa.table(
            {
                "id": pa.array(facts, pa.string()),
                "one": pa.array([v for _, v in facts.values()], pa.int64()),
                "two": pa.array([v for _, v in facts.values()], pa.int64()),
                "ts": pa.array([EPOCH + timedelta(seconds=t) for t, _ in facts.values()], pa.timestamp("us", "UTC")),
                "interval_start": pa.array([str(interval)] * len(facts), pa.string()),
            }
        )
        predicate = f"interval_start = '{interval}'" if self.versions else None
        write_deltalake(self.ref.uri, table, partition_by=["interval_start"], mode="overwrite", predicate=predicate)
        self._publish(content)

    def _fact(self, interval: int, offset: int) -> Fact:
        self.value += 1
        return interval * TIMES + offset, self.value

    def _publish(self, content: Content) -> None:
        version = DeltaTable(self.ref.uri).version()
        while len(self.versions) <= version:
            self.versions.append(self.versions[-1] if self.versions else {})
        self.versions[version] = content
        for rows in content.values():
            for key, (time, _) in rows.items():
                if key in self.alive and self.alive[key][0] <= time:
                    del self.alive[key]

    def restore(self, back: int) -> None:
        last = len(self.versions) - 1
        version = max(0, last - back)
        if version == last:
            return
        DeltaTable(self.ref.uri).restore(version)
        self._publish(self.versions[version])

    def recreate(self, rows: dict[str, int]) -> None:
        shutil.rmtree(self.ref.uri)
        self.incarnation += 1
        self.versions = []
        self.publish(0, rows)

    # ---- Redis

    def push(self, key: str, time: int) -> None:
        self.value += 1
        values = {name: Value(int64_val=self.value).SerializeToString() for name in ("one", "two")}
        micros = int((EPOCH + timedelta(seconds=time)).timestamp()) * 1_000_000
        push_rows(self.client, self.view, [PushedRow(redis_key(key), micros, values)], now=micros)
        self.pushed[key].add((time, self.value))
        newer = key not in self.alive or self.alive[key][0] <= time
        ever = max(
            (t for content in self.versions for rows in content.values() for k, (t, _) in rows.items() if k == key),
            default=-1,
        )
        if newer and time > ever and not self._online_later(key, time):
            self.alive[key] = (time, self.value)

    def _online_later(self, key: str, time: int) -> bool:
        """Whether Redis shows something that a push at this time must not replace; a batch row wins a tie."""
        online = self.online(key)
        return online is not None and (online[0] > time or (online[0] == time and online not in self.pushed[key]))

    def flush(self) -> None:
        self.client.flushall()
        self.alive.clear()

    def save(self) -> None:
        self.saved = {key: self.client.dump(key) for key in self.client.scan_iter()}

    def rewind(self) -> None:
        """A restart from an older snapshot: connections break, keys are as they were."""
        if self.saved is None:
            return
        self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.client.flushall()
        for key, dump in self.saved.items():
            self.client.restore(key, 0, dump)
        self.alive.clear()

    # ---- runs

    def _run(self, step: Callable[[str], None] = lambda _: None, *, attempts: int = 6) -> None:
        def beside_readers(name: str) -> None:
            if self.somebody_reads:
                self.reader.hgetall("somebody's")
            step(name)

        run = Run(Pace(chunk_rows=1), attempts=attempts, sample=0, step=beside_readers)
        materialize_view(self.client, self.view, self.ref, run=run)

    def run(self) -> None:
        self._run()
        self.check()

    def run_killed(self, at: int) -> None:
        left = iter(range(at))

        def step(_: str) -> None:
            if next(left, None) is None:
                raise KilledError

        try:
            self._run(step)
        except KilledError:
            return
        self.check()

    def start_zombie(self, at: int) -> None:
        left, paused, go = iter(range(at)), threading.Event(), threading.Event()

        def step(_: str) -> None:
            if next(left, None) is None and not go.is_set():
                paused.set()
                go.wait(timeout=600)
            if zombie.die:
                raise KilledError

        def body() -> None:
            try:
                self._run(step, attempts=1)
            except (KilledError, LakehouseError):
                pass
            finally:
                paused.set()

        zombie = Zombie(threading.Thread(target=body, daemon=True), paused, go)
        zombie.thread.start()
        assert paused.wait(timeout=600)
        self.zombies.append(zombie)

    def resume_zombie(self, which: int) -> None:
        self.zombies.pop(which % len(self.zombies)).end(die=False)

    def relayout(self) -> None:
        self.view = replace(self.view, ttl_seconds=self.view.ttl_seconds + 1)

    def end(self) -> None:
        for zombie in self.zombies:
            zombie.end(die=True)

    # ---- what must be true

    def online(self, key: str) -> Fact | None:
        """The row a stock Feast reader sees. Fails if it is torn."""
        one, two, stamp = self.client.hmget(redis_key(key), [_mmh3("v:one"), _mmh3("v:two"), "_ts:v"])
        if stamp is None:
            assert one is None, f"{key}: features without an event time"
            assert two is None, f"{key}: features without an event time"
            return None
        assert one == two, f"{key}: a torn row"
        assert one is not None, f"{key}: an event time without features"
        return Timestamp.FromString(stamp).seconds - int(EPOCH.timestamp()), Value.FromString(one).int64_val

    def check(self) -> None:
        """After a run ends well, every key shows the newest published row, or a push newer than that."""
        for key in KEYS:
            rows = [rows[key] for rows in self.versions[-1].values() if key in rows]
            newest = max(rows, default=None)
            found = self.online(key)
            if key in self.alive and (newest is None or self.alive[key] > newest):
                assert found == self.alive[key], f"{key}: expected the newer push {self.alive[key]}, found {found}"
            elif found != newest:
                assert found in self.pushed[key], f"{key}: expected {newest}, found {found}"
                assert newest is None or found[0] > newest[0], f"{key}: expected {newest}, found the older push {found}"


def redis_key(key: str) -> bytes:
    """As stock Feast makes it."""
    return _redis_key("p", EntityKey(join_keys=["id"], entity_values=[Value(string_val=key)]))
