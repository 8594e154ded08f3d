"""The engine under every mishap: publish, correct, run, kill, zombie, restore, recreate, flush, rewind, push, in any order.

MODEL_EXAMPLES (default 60) sets how many examples of 40 steps are drawn; `make model` runs 300.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis as redis_py
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from feast_lakehouse import guard, plan, record
from feast_lakehouse import readers as readers_module
from feast_lakehouse.record import RecordKeys
from feast_lakehouse.resp import command
from tests.feast_lakehouse.model import INTERVALS, KEYS, TIMES, World
from tests.servers import RedisServer

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "60"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate] + [Phase.shrink] * bool(os.environ.get("MODEL_SHRINK")),
)
ROWS = st.dictionaries(st.sampled_from(KEYS), st.integers(0, TIMES - 1), max_size=len(KEYS))
STEP = st.integers(0, 6)


class Machine(RuleBasedStateMachine):
    """The world, driven over one Redis."""

    client: ClassVar[redis_py.Redis]

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.folder = tempfile.TemporaryDirectory(prefix="model-")
        self.world = World(Path(self.folder.name), self.client)

    @initialize(rows=ROWS)
    def first(self, rows: dict[str, int]) -> None:
        self.world.publish(0, rows)

    @rule(interval=st.integers(0, INTERVALS - 1), rows=ROWS)
    def publish_or_correct(self, interval: int, rows: dict[str, int]) -> None:
        self.world.publish(interval, rows)

    @rule()
    def run(self) -> None:
        self.world.run()

    @rule(at=STEP)
    def killed_run(self, at: int) -> None:
        self.world.run_killed(at)

    @precondition(lambda self: len(self.world.zombies) < 2)
    @rule(at=STEP)
    def zombie(self, at: int) -> None:
        self.world.start_zombie(at)

    @precondition(lambda self: self.world.zombies)
    @rule(which=st.integers(0, 1))
    def zombie_wakes(self, which: int) -> None:
        self.world.resume_zombie(which)

    @rule(back=st.integers(1, 3))
    def restore(self, back: int) -> None:
        self.world.restore(back)

    @rule(key=st.sampled_from(KEYS), time=st.integers(0, INTERVALS * TIMES))
    def push(self, key: str, time: int) -> None:
        self.world.push(key, time)

    @rule(somebody=st.booleans())
    def readers(self, *, somebody: bool) -> None:
        self.world.somebody_reads = somebody

    # One rule for all that makes a run begin anew: were each a rule, runs would hardly ever build on another.
    @rule(what=st.sampled_from(["new layout", "flush", "save", "rewind", "recreate"]), rows=ROWS)
    def upheaval(self, what: str, rows: dict[str, int]) -> None:
        if what == "recreate":
            self.world.recreate(rows)
            return
        world = self.world
        {"new layout": world.relayout, "flush": world.flush, "save": world.save, "rewind": world.rewind}[what]()

    def teardown(self) -> None:
        self.world.end()
        try:
            self.world.run()
        finally:
            self.world.reader.close()
            self.folder.cleanup()


@pytest.fixture
def machine(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[RuleBasedStateMachine]]:
    monkeypatch.setattr(readers_module, "LOOK_SECONDS", 0.0)
    client = redis_server.client()
    yield type("MachineOverRedis", (Machine,), {"client": client})
    client.close()


def test_the_newest_published_value_of_every_key_is_online_after_any_mishap(
    machine: type[RuleBasedStateMachine],
) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


def without_fence(patch: pytest.MonkeyPatch) -> None:
    made = guard.GuardedWriter.__init__

    def unfenced(self: guard.GuardedWriter, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        keys: RecordKeys = self._keys
        self._watch = command(b"WATCH", keys.pushes) + command(b"GET", keys.claim)

    patch.setattr(guard.GuardedWriter, "__init__", unfenced)
    patch.setattr(guard.GuardedWriter, "_holds", lambda *_: True)


def without_intent(patch: pytest.MonkeyPatch) -> None:
    take = record.take_claim
    patch.setattr(
        record,
        "take_claim",
        lambda client, view, seen, intent, target: take(
            client, view, seen, replace(intent, attempted=frozenset()), target
        ),
    )


def without_generation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan, "_new_generation", lambda *_: 1)


def superseded(world: World) -> None:
    """A run pauses before a write; meanwhile a later row is published and brought online; then the first run wakes."""
    world.publish(0, {"a": 0})
    world.run()
    world.publish(1, {"a": 0})
    world.start_zombie(at=1)
    world.publish(2, {"a": 0})
    world.run()
    world.resume_zombie(0)
    world.run()


def died_and_restored(world: World) -> None:
    """A run dies when it has written a row, and the table goes back to the version before that row."""
    world.publish(0, {"a": 0})
    world.run()
    world.publish(1, {"a": 0})
    world.run_killed(at=2)
    world.restore(back=1)
    world.run()


def created_anew(world: World) -> None:
    """The table is created anew, with fewer keys and other values at the same event times."""
    world.publish(0, {"a": 0, "b": 0})
    world.run()
    world.recreate({"a": 0})
    world.run()


MUTATIONS = [(without_fence, superseded), (without_intent, died_and_restored), (without_generation, created_anew)]


@pytest.mark.parametrize("scenario", [scenario for _, scenario in MUTATIONS])
def test_a_scenario_ends_well(scenario: Any, redis: redis_py.Redis, tmp_path: Path) -> None:
    scenario(World(tmp_path, redis))


@pytest.mark.parametrize(("mutation", "scenario"), MUTATIONS)
def test_the_scenario_goes_wrong_without(
    mutation: Any, scenario: Any, redis: redis_py.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    with pytest.raises(AssertionError, match="expected"):
        scenario(World(tmp_path, redis))
