"""The wait step over a real lake."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import timezone
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import TaskDeferred

from feast_lakehouse.errors import TransportError
from feature_pipelines import environment, waiting
from feature_pipelines.landing import land
from feature_pipelines.waiting import NotLanded, RawLanded, WaitForRaw, missing_days
from spark_jobs.interval import Interval

TABLE = "airport_weather_hourly"


@pytest.fixture(autouse=True)
def _own_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_FEAST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


def land_weather(start: str, end: str) -> None:
    land(environment.load(), "weather", Interval.parse(start, end))


def context(start: str, end: str) -> Any:
    return {"run_id": "r", "params": {"start": start, "end": end}}


def wait() -> WaitForRaw:
    return WaitForRaw(task_id="wait", table=TABLE, patience=timedelta(hours=2))


def fired(trigger: RawLanded) -> Any:
    async def first() -> Any:
        async for event in trigger.run():
            return event.payload
        return "nothing"

    return asyncio.run(asyncio.wait_for(first(), 60))


def deferral(start: str, end: str) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        wait().execute(context(start, end))
    return deferred.value


def test_goes_on_at_once_when_everything_has_landed() -> None:
    land_weather("2013-01-01", "2013-01-03")
    assert missing_days(TABLE, Interval.parse("2013-01-01", "2013-01-03")) == {}
    wait().execute(context("2013-01-01", "2013-01-03"))


def test_a_day_that_is_missing_is_awaited_outside_the_worker_and_the_run_goes_on_when_it_lands() -> None:
    land_weather("2013-01-01", "2013-01-02")
    deferred = deferral("2013-01-01", "2013-01-03")
    path, arguments = deferred.trigger.serialize()
    assert path == "feature_pipelines.waiting.RawLanded"
    again = RawLanded(**arguments | {"poll_seconds": 0.05})

    async def landed_meanwhile() -> Any:
        waiting = asyncio.create_task(anext(aiter(again.run())))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await asyncio.to_thread(land_weather, "2013-01-02", "2013-01-03")
        return (await asyncio.wait_for(waiting, 60)).payload

    assert asyncio.run(landed_meanwhile()) == {}
    getattr(wait(), deferred.method_name)({}, {})


def test_storage_that_does_not_answer_is_looked_at_again_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    land_weather("2013-01-01", "2013-01-02")
    look, hiccups = waiting.missing_days, [TransportError("the lake does not answer"), TransportError("nor now")]

    def hiccupping(table: str, window: Interval) -> dict[str, list[str]]:
        if hiccups:
            raise hiccups.pop()
        return look(table, window)

    monkeypatch.setattr(waiting, "missing_days", hiccupping)
    soon, past = (f"{timezone.utcnow() + timedelta(minutes=minutes)}" for minutes in (10, -10))
    assert fired(RawLanded(TABLE, "2013-01-01", "2013-01-02", deadline=soon, poll_seconds=0.05)) == {}
    assert hiccups == []
    hiccups.append(TransportError("the lake does not answer"))
    with pytest.raises(TransportError, match="the lake does not answer"):
        fired(RawLanded(TABLE, "2013-01-01", "2013-01-02", deadline=past))


def test_patience_ends_with_the_names_of_what_is_missing_and_what_to_run() -> None:
    land_weather("2013-01-01", "2013-01-02")
    past = (timezone.utcnow() - timedelta(seconds=1)).isoformat()
    missing = fired(RawLanded(TABLE, "2013-01-01", "2013-01-04", deadline=past))
    assert missing == {"weather": ["2013-01-02", "2013-01-03"]}
    with pytest.raises(NotLanded, match=r"after 2:00:00 .* weather 2013-01-02, 2013-01-03. Run land_weather"):
        wait().resume({}, missing)


def test_nothing_landed_at_all_is_no_error_but_a_reason_to_wait() -> None:
    assert deferral("2013-01-01", "2013-01-02").trigger.serialize()[1]["table"] == TABLE


def test_days_that_nothing_will_land_by_itself_fail_at_once() -> None:
    with pytest.raises(NotLanded, match=r"weather has data for 2013-01-01 to 2013-12-30 .* Run land_weather"):
        wait().execute(context("2026-01-01", "2026-01-02"))


def test_such_a_day_is_accepted_once_it_has_landed_as_zero_rows() -> None:
    land_weather("2013-12-31", "2014-01-01")
    wait().execute(context("2013-12-31", "2014-01-01"))
