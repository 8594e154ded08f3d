"""Compute stages what was ordered, once."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from spark_jobs import compute as compute_module
from spark_jobs.compute import compute, read_order
from spark_jobs.features import feature_tables
from tests import oracle
from tests.spark_jobs.frames import flight, hour, random_flights
from tests.spark_jobs.lake import ARROW, BUILD, Lake, path, report_on_disk, staged_files, staged_rows, uri

DAYS = ["2013-01-01", "2013-01-02", "2013-01-03"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The first three days of the packaged data."""
    lake = Lake(tmp_path_factory.mktemp("real"))
    for day in DAYS:
        lake.land("flights", day, oracle.flights([day]))
        lake.land("weather", day, oracle.weather([day]))
    return lake


@pytest.mark.parametrize("table", list(oracle.KEYS))
def test_real_days_equal_the_oracle_in_one_file_per_interval_as_the_contract_says(
    spark: SparkSession, real: Lake, table: str
) -> None:
    report = compute(spark, real.order(table, DAYS))
    expected = oracle.rows(table, DAYS)
    found = sorted(
        staged_rows(report), key=lambda row: (row["event_timestamp"], *(row[key] for key in oracle.KEYS[table]))
    )
    assert report.broken == ()
    assert len(found) == len(expected) == sum(report.rows.values())
    wrong = [pair for pair in zip(expected, found, strict=True) if not _same(*pair)]
    assert wrong == []
    assert {day: len(files) for day, files in staged_files(report).items()} == dict.fromkeys(DAYS, 1)
    for files in staged_files(report).values():
        schema = pq.ParquetFile(files[0]).schema_arrow
        columns = feature_tables()[table].columns
        assert schema.names == [column.name for column in columns]
        assert schema.types == [ARROW.get(column.dtype, pa.int64()) for column in columns]


def _same(expected: dict[str, Any], found: dict[str, Any]) -> bool:
    return expected.keys() == found.keys() and all(oracle.same(expected[name], found[name]) for name in expected)


def test_one_order_of_three_days_equals_three_orders_of_one(spark: SparkSession, real: Lake) -> None:
    together = compute(spark, real.order("route_performance", reversed(DAYS), order_id="together"))
    apart = [compute(spark, real.order("route_performance", [day], order_id=f"apart-{day}")) for day in reversed(DAYS)]
    assert staged_rows(together) == [row for report in reversed(apart) for row in staged_rows(report)]
    assert together.rows == {day: rows for report in apart for day, rows in report.rows.items()}


def test_days_that_are_not_neighbours_get_their_own_rows_only(spark: SparkSession, real: Lake) -> None:
    both = compute(spark, real.order("airport_hourly", ["2013-01-01", "2013-01-03"], order_id="gap"))
    assert list(staged_files(both)) == ["2013-01-01", "2013-01-03"]
    assert staged_rows(both) == [
        row
        for day in ("2013-01-01", "2013-01-03")
        for row in staged_rows(compute(spark, real.order("airport_hourly", [day], order_id=f"gap-{day}")))
    ]


def test_an_interval_without_rows_and_an_input_without_files_are_sound(spark: SparkSession, lake: Lake) -> None:
    empty = compute(spark, lake.order("aircraft_daily", DAYS))
    assert (empty.rows, empty.broken, staged_files(empty)) == (dict.fromkeys(DAYS, 0), (), {})
    lake.land("flights", DAYS[0], [])
    lake.land("flights", DAYS[1], [flight("2013-01-02 10:00")])
    some = compute(spark, lake.order("aircraft_daily", DAYS, order_id="o2"))
    assert some.rows == {DAYS[0]: 0, DAYS[1]: 1, DAYS[2]: 0}
    assert list(staged_files(some)) == [DAYS[1]]


def test_the_order_is_read_from_beside_the_table_and_the_report_says_what_was_staged(
    spark: SparkSession, lake: Lake
) -> None:
    lake.land("weather", DAYS[0], [hour("2013-01-01 05:00", temp=30.0)])
    order = lake.order("airport_weather_hourly", DAYS[:1])
    file = lake.root / "features" / "airport_weather_hourly" / "_orders" / "o1.json"
    file.parent.mkdir(parents=True)
    file.write_text(order.to_json())
    assert read_order(spark, uri(file)) == order
    report = compute(spark, order)
    assert report_on_disk(order) == report
    assert report.staged.startswith(order.output + "/")
    assert {day: result.build for day, result in report.intervals.items()} == {DAYS[0]: BUILD}


def test_an_order_that_has_a_report_is_not_computed_again(spark: SparkSession, lake: Lake) -> None:
    lake.land("weather", DAYS[0], [hour("2013-01-01 05:00", temp=30.0)])
    order = lake.order("airport_weather_hourly", DAYS[:1])
    first = compute(spark, order)
    path(lake.files["weather", DAYS[0]]).unlink()
    assert compute(spark, order) == first


def test_what_a_killed_execution_left_behind_is_neither_used_nor_touched(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.land("weather", DAYS[0], [hour("2013-01-01 05:00", temp=30.0)])
    order = lake.order("airport_weather_hourly", DAYS[:1])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compute_module, "_write_report", die)
        with pytest.raises(KeyboardInterrupt):
            compute(spark, order)
    left = sorted(path(order.output).rglob("*.parquet"))
    report = compute(spark, order)
    assert len(left) == 1
    assert left[0].exists()
    assert left[0] not in staged_files(report)[DAYS[0]]
    assert report.rows == {DAYS[0]: 1}


def test_rows_of_no_ordered_interval_are_dropped(spark: SparkSession, lake: Lake) -> None:
    lake.land("flights", "2012-12-31", [flight("2012-12-31 10:00"), flight("2012-12-31 23:00", dep_delay=61, flight=2)])
    report = compute(spark, lake.order("airport_hourly", DAYS[:1]))
    assert [(row["event_timestamp"].hour, row["departures"]) for row in staged_rows(report)] == [(1, 1)]


def test_an_old_input_without_a_later_nullable_column_reads_as_null(spark: SparkSession, lake: Lake) -> None:
    lake.land("weather", DAYS[0], [hour("2013-01-01 05:00", temp=30.0, visib=9.0)])
    file = path(lake.files["weather", DAYS[0]])
    pq.write_table(pq.ParquetFile(file).read().drop_columns(["visib"]), file)
    row = staged_rows(compute(spark, lake.order("airport_weather_hourly", DAYS[:1])))[0]
    assert (row["temp"], row["visib"]) == (30.0, None)


def test_a_day_alone_reads_its_late_facts_and_its_window_through_the_lookback(spark: SparkSession, lake: Lake) -> None:
    days = [f"2013-03-{n:02}" for n in range(1, 13)]
    for n, day in enumerate(days):
        lake.land("flights", day, random_flights(n, first=f"{day} 00:00", days=1, per_day=12))
    whole = compute(spark, lake.order("route_performance", days, order_id="whole"))
    alone = compute(spark, lake.order("route_performance", days[-1:], order_id="alone"))
    assert staged_files(alone).keys() == {days[-1]}
    assert staged_rows(alone) == staged_rows(whole)[-alone.rows[days[-1]] :]
    assert alone.rows[days[-1]] == whole.rows[days[-1]] > 0
