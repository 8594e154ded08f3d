"""Contracts refuse nonsense when they are made, and say what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest

from spark_jobs.contract import DTYPES, Column, ContractError, FeatureTable, Input, RawTable
from spark_jobs.features import feature_tables
from spark_jobs.raw import FLIGHTS, RAW_TABLES, WEATHER

KEY = Column("tailnum", "string", "Tail number.", nullable=False)
FEATURE = Column("flights", "int64", "Departures.", minimum=0)
TABLE = FeatureTable(
    name="aircraft",
    lake="on_prem",
    description="One row per aircraft.",
    owner="fleet",
    keys=(KEY,),
    features=(FEATURE,),
    inputs=(Input(FLIGHTS),),
    ttl=timedelta(days=1),
)
SOME_TIME = Column("seen_at", "timestamp", "When.", nullable=False)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: replace(FEATURE, name="Flights"), "'Flights' must be at most 63 lower case letters"),
        (lambda: replace(FEATURE, name="a__b"), "single underscores"),
        (lambda: replace(FEATURE, name="_a"), "letter first"),
        (lambda: replace(FEATURE, name="a_"), "single underscores"),
        (lambda: replace(FEATURE, name="a" * 64), "at most 63"),
        (lambda: replace(FEATURE, name=""), "column name ''"),
        (lambda: replace(FEATURE, dtype="decimal"), "unknown dtype 'decimal'; known are string, int32"),
        (lambda: replace(FEATURE, description=" "), "description must not be blank"),
        (lambda: replace(FEATURE, minimum=2, maximum=1), "minimum 2 is greater than maximum 1"),
        (lambda: replace(FEATURE, minimum=float("nan")), "NaN is no bound"),
        (lambda: replace(KEY, maximum=1), "a string column has no minimum or maximum"),
        (lambda: replace(SOME_TIME, minimum=1), "a timestamp column has no minimum or maximum"),
    ],
)
def test_refused_columns(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: replace(TABLE, name="aircraft-daily"), "table name 'aircraft-daily'"),
        (lambda: replace(TABLE, lake="s3"), "unknown lake 's3'; known are on_prem, cloud"),
        (lambda: replace(TABLE, description=""), "description must not be blank"),
        (lambda: replace(TABLE, owner=""), "owner must not be blank"),
        (lambda: replace(TABLE, keys=()), "needs at least one key"),
        (lambda: replace(TABLE, features=()), "needs at least one feature"),
        (lambda: replace(TABLE, inputs=()), "needs at least one input"),
        (lambda: replace(TABLE, keys=(replace(KEY, nullable=True),)), "key tailnum must be nullable=False"),
        (lambda: replace(TABLE, keys=(replace(KEY, dtype="float64"),)), "key tailnum must be nullable=False and int32"),
        (lambda: replace(TABLE, keys=(SOME_TIME,)), "key seen_at"),
        (lambda: replace(TABLE, features=(FEATURE, FEATURE)), "column flights appears twice"),
        (lambda: replace(TABLE, features=(KEY,)), "column tailnum appears twice"),
        (
            lambda: replace(TABLE, inputs=(Input(FLIGHTS), Input(FLIGHTS, lookback_days=1))),
            "input flights appears twice",
        ),
        (lambda: replace(TABLE, ttl=timedelta(0)), "ttl must be positive"),
        (lambda: Input(FLIGHTS, lookback_days=-1), "lookback_days must not be negative, got -1"),
        *(
            (lambda name=name: replace(TABLE, features=(replace(FEATURE, name=name),)), f"{name} is reserved")
            for name in ("event_timestamp", "interval_start", "build")
        ),
    ],
)
def test_refused_feature_tables(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"key": ()}, "must name at least one column"),
        ({"key": ("origin", "origin")}, "none twice"),
        ({"key": ("airport",)}, "airport is not among its columns origin, observed_at"),
        ({"key": ("temp",)}, "temp must be nullable=False"),
        ({"time_column": "temp"}, "temp must be nullable=False"),
        ({"time_column": "origin"}, "origin must be a timestamp"),
        ({"columns": (*WEATHER.columns, replace(FEATURE, name="build"))}, "build is reserved"),
        (
            {"columns": (*WEATHER.columns, replace(FEATURE, name="n", dtype="float64", nullable=False)), "key": ("n",)},
            "n is float64",
        ),
    ],
)
def test_refused_raw_tables(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        RawTable(**{**vars(WEATHER), **changes})


def test_contracts_are_frozen_and_optional_parts_have_names() -> None:
    with pytest.raises(FrozenInstanceError):
        TABLE.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Column("a", "int64", "An a.", "minutes")  # type: ignore[misc]


def test_a_row_has_keys_then_event_time_then_features() -> None:
    assert [column.name for column in TABLE.columns] == ["tailnum", "event_timestamp", "flights"]
    assert TABLE.columns[1].dtype == "timestamp"
    assert not TABLE.columns[1].nullable


def test_our_own_tables_promise_what_they_should() -> None:
    assert list(feature_tables()) == ["aircraft_daily", "airport_hourly", "airport_weather_hourly", "route_performance"]
    assert {name: table.lookback_days for name, table in feature_tables().items()} == {
        "aircraft_daily": 2,
        "airport_hourly": 2,
        "airport_weather_hourly": 2,
        "route_performance": 8,
    }
    for table in feature_tables().values():
        for column in table.features:
            assert column.dtype in DTYPES
            assert column.dtype == "string" or (column.minimum is not None and column.maximum is not None), column.name
        assert all(RAW_TABLES[each.raw.name] is each.raw for each in table.inputs)
