from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_pipelines.window import WindowError, is_forced, resolve_window
from spark_jobs.interval import Interval

DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


SCHEDULED = {
    "data_interval_start": at("2013-02-01"),
    "data_interval_end": at("2013-02-02"),
    "logical_date": at("2013-02-01"),
}
PARAMS = {"params": {"start": "2013-01-01", "end": "2013-01-04", "force": False}}
PARTITION = {"partition_key": "2013-03-01"}


@pytest.mark.parametrize(
    ("context", "window"),
    [
        (PARAMS | PARTITION | SCHEDULED, ("2013-01-01", "2013-01-04")),
        (PARTITION | SCHEDULED, ("2013-03-01", "2013-03-02")),
        ({"params": {"start": None, "end": None}, "partition_key": None} | SCHEDULED, ("2013-02-01", "2013-02-02")),
        ({"logical_date": at("2013-04-01T13:30")}, ("2013-04-01", "2013-04-02")),
        ({"params": {"start": "2013-01-01"}}, ("2013-01-01", "2013-01-02")),
        ({"params": {"start": "2013-01-01T00:00:00+00:00"}}, ("2013-01-01", "2013-01-02")),
        ({"partition_key": "2013-03-01T00:00:00"}, ("2013-03-01", "2013-03-02")),
    ],
    ids=[
        "params first",
        "then partition",
        "then interval",
        "then logical date",
        "start alone",
        "an instant",
        "hour key",
    ],
)
def test_the_first_source_of_a_window_that_is_there_decides(context: dict[str, Any], window: tuple[str, str]) -> None:
    assert resolve_window(context) == Interval.parse(*window)


def test_a_run_without_any_interval_is_told_what_to_pass() -> None:
    context = {
        "run_id": "manual__1",
        "params": {"start": None, "end": None},
        "logical_date": None,
        "data_interval_start": None,
    }
    with pytest.raises(WindowError, match=r"Run manual__1 is about no days.*\"start\": \"2013-01-01\".*backfill"):
        resolve_window(context)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"end": "2013-01-04"}, "without start"),
        ({"start": "2013-01-04", "end": "2013-01-04"}, 'one day is {"start": "2013-01-04", "end": "2013-01-05"}'),
        ({"start": "2013-01-05", "end": "2013-01-04"}, "must be before end"),
        ({"start": "Tuesday"}, "param start must be a UTC day written like 2013-01-01, found 'Tuesday'"),
        ({"start": "2013-01-01T05:00:00"}, "must be a UTC day"),
        ({"start": "2013-01-01T00:00:00+05:00"}, "must be a UTC day"),
        ({"start": 20130101}, "must be a UTC day"),
    ],
)
def test_params_that_make_no_sense_are_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(WindowError) as refusal:
        resolve_window({"params": params} | SCHEDULED)
    assert told in str(refusal.value)


def test_a_partition_key_that_is_no_day_is_refused() -> None:
    with pytest.raises(WindowError, match="partition key must be a UTC day"):
        resolve_window({"partition_key": "eu-west"} | SCHEDULED)


@given(
    start=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - the zone comes from the next strategy
    length=st.timedeltas(timedelta(0), timedelta(days=40)),
    zone=st.integers(-12, 12).map(lambda hours: timezone(timedelta(hours=hours))),
)
def test_a_data_interval_is_widened_to_the_fewest_utc_days_that_hold_it(
    start: datetime, length: timedelta, zone: timezone
) -> None:
    first, last = start.replace(tzinfo=zone), start.replace(tzinfo=zone) + length
    window = resolve_window({"data_interval_start": first, "data_interval_end": last})
    assert window.is_day_aligned
    assert window.start <= first < window.start + DAY
    assert last <= window.end
    assert window.end - DAY < max(last, first + timedelta(microseconds=1))


def test_force_is_off_unless_ticked() -> None:
    assert not is_forced({})
    assert not is_forced(PARAMS)
    assert is_forced({"params": {"force": True}})
