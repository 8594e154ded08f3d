"""The engine under every mishap: publish, correct, run, kill, zombie, restore, recreate, flush, rewind, push, in any order.

MODEL_EXAMPLES (default 40) sets how many examples of 40 steps are drawn; `make model` runs 300.
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
from feast_lakehouse.record import RecordKeys
from feast_lakehouse.resp import command
from tests.feast_lakehouse.model import INTERVALS, KEYS, TIMES, World
from tests.servers import RedisServer

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "40"))
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
STEP = st.integers(0, 8)


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

    @rule(rows=ROWS)
    def recreate(self, rows: dict[str, int]) -> None:
        self.world.recreate(rows)

    @rule(key=st.sampled_from(KEYS), time=st.integers(0, INTERVALS * TIMES))
    def push(self, key: str, time: int) -> None:
        self.world.push(key, time)

    @rule()
    def new_layout(self) -> None:
        self.world.relayout()

    @rule()
    def flush(self) -> None:
        self.world.flush()

    @rule()
    def save(self) -> None:
        self.world.save()

    @rule()
    def rewind(self) -> None:
        self.world.rewind()

    def teardown(self) -> None:
        self.world.end()
        try:
            self.world.run()
        finally:
            self.folder.cleanup()


@pytest.fixture
def machine(redis_server: RedisServer) -> Iterator[type[RuleBasedStateMachine]]:
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


@pytest.mark.parametrize("mutation", [without_fence, without_intent, without_generation])
def test_it_goes_wrong_without(
    mutation: Any, machine: type[RuleBasedStateMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    thorough = settings(SETTINGS, max_examples=400, phases=[Phase.generate])
    with pytest.raises(AssertionError, match=r"expected|torn|without"):
        run_state_machine_as_test(machine, settings=thorough)
