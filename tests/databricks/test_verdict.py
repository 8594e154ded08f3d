"""What is read out of a run as Databricks tells it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from feature_pipelines.databricks_verdict import is_waiting, newest_attempts


def task(key: str, run_id: int, life: str, **more: int) -> dict[str, Any]:
    return {"task_key": key, "run_id": run_id, "state": {"life_cycle_state": life}, **more}


def test_the_newest_attempt_of_each_task_counts_in_whatever_order_they_are_listed() -> None:
    tasks = [
        task("compute", 1, "TERMINATED", attempt_number=0, start_time=10),
        task("compute", 2, "TERMINATED", attempt_number=1, start_time=20),
        task("compute", 3, "PENDING", attempt_number=2, start_time=0),  # not started yet
        task("report", 4, "PENDING"),
    ]
    for listed in permutations(tasks):
        run = {"state": {"life_cycle_state": "RUNNING"}, "tasks": list(listed)}
        assert {each["run_id"] for each in newest_attempts(run)} == {3, 4}
        assert is_waiting(run)


def test_attempts_of_one_number_are_told_apart_by_their_start() -> None:
    older, newer = (task("compute", start, "TERMINATED", attempt_number=0, start_time=start) for start in (1, 2))
    for listed in permutations([older, newer]):
        assert newest_attempts({"tasks": list(listed)}) == [newer]
