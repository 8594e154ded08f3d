"""Compute stages what was ordered, once, and refuses what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs import compute as compute_module
from spark_jobs.compute import compute, read_order
from spark_jobs.contract import ContractError
from spark_jobs.features import feature_tables
from spark_jobs.order import Order, OrderError
from spark_jobs.report import Report
from tests import oracle
from tests.spark_jobs.frames import flight, hour, random_flights
from tests.spark_jobs.lake import ARROW, BUILD, Lake, path, staged_files, staged_rows, uri

DAYS = ["2013-01-01", "2013-01-02", "2013-01-03"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The first three days of the packaged data."""
    lake = Lake(tmp_path_factory.mktemp("real"))
    for day in DAYS:
        lake.land("flights", day, oracle.flights([day]))
        lake.land("weather", day, oracle.weather([day]))
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


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


@pytest.mark.parametrize("table", ["aircraft_daily", "route_performance"])
def test_one_order_of_three_days_equals_three_orders_of_one(spark: SparkSession, real: Lake, table: str) -> None:
    together = compute(spark, real.order(table, reversed(DAYS), order_id="together"))
    apart = [compute(spark, real.order(table, [day], order_id=f"apart-{day}")) for day in reversed(DAYS)]
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
    assert _report_on_disk(order) == report
    assert report.staged.startswith(order.output + "/")
    assert {day: result.build for day, result in report.intervals.items()} == {DAYS[0]: BUILD}


def _report_on_disk(order: Order) -> Report:
    return Report.from_json("".join(part.read_text() for part in path(order.output).glob("report.json/part-*")))


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


Spoil = Callable[[DataFrame], DataFrame]


@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (
            lambda rows: rows.unionAll(rows),
            ("(origin, event_timestamp): 1 duplicate key, e.g. (EWR, 2013-01-01 06:00:00)",),
        ),
        (lambda rows: rows.withColumn("origin", F.lit(None).cast("string")), ("origin: null in 1 row",)),
        (lambda rows: rows.withColumn("temp", F.lit(500.0)), ("temp: maximum 140, found 500.0 in 1 row",)),
        (lambda rows: rows.withColumn("temp", F.col("temp").cast("float")), ("temp: expected double, found float",)),
        (lambda rows: rows.withColumn("note", F.lit(None)), ("note: not in the contract, found void",)),
        (lambda rows: rows.drop("origin"), ("origin: missing, expected string",)),
        (lambda rows: rows.drop("event_timestamp"), ("event_timestamp: missing, expected timestamp",)),
        (
            lambda rows: rows.withColumn("event_timestamp", F.col("event_timestamp").cast("date")),
            ("event_timestamp: expected timestamp, found date",),
        ),
        (
            lambda rows: rows.withColumn("event_timestamp", F.lit(None).cast("timestamp")),
            ("event_timestamp: null in 1 row",),
        ),
    ],
)
def test_a_broken_audit_reports_every_promise_and_keeps_the_rows(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch, spoil: Spoil, broken: tuple[str, ...]
) -> None:
    from spark_jobs.features import airport_weather_hourly

    lake.land("weather", DAYS[0], [hour("2013-01-01 05:00", temp=30.0)])
    order = lake.order("airport_weather_hourly", DAYS[:1])
    sound = airport_weather_hourly.transform
    monkeypatch.setattr(airport_weather_hourly, "transform", lambda weather: spoil(sound(weather=weather)))
    report = compute(spark, order)
    assert report.broken == broken
    assert _report_on_disk(order) == report
    assert len(list(path(report.staged).rglob("*.parquet"))) == 1


def test_rows_of_no_ordered_interval_are_dropped(spark: SparkSession, lake: Lake) -> None:
    lake.land("flights", "2012-12-31", [flight("2012-12-31 10:00"), flight("2012-12-31 23:00", dep_delay=61, flight=2)])
    report = compute(spark, lake.order("airport_hourly", DAYS[:1]))
    assert [(row["event_timestamp"].hour, row["departures"]) for row in staged_rows(report)] == [(1, 1)]


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"table": "aircraft"}, OrderError, "no feature table 'aircraft'; known are aircraft_daily"),
        ({"definition": "f" * 16}, OrderError, "on this worker, the order wants ffffffffffffffff"),
        ({"inputs": {"weather": ()}}, OrderError, r"inputs are \['weather'\], aircraft_daily reads \['flights'\]"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(
    spark: SparkSession, lake: Lake, changes: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    order = replace(lake.order("aircraft_daily", DAYS), **changes)
    with pytest.raises(error, match=complaint):
        compute(spark, order)
    assert not path(order.output).exists()


def test_a_transform_that_asks_for_a_column_that_is_not_there_is_a_broken_definition(
    spark: SparkSession, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spark_jobs.features import airport_weather_hourly

    order = lake.order("airport_weather_hourly", DAYS)
    monkeypatch.setattr(airport_weather_hourly, "transform", lambda weather: weather.select("snow"))
    with pytest.raises(ContractError, match=r"airport_weather_hourly: transform does not fit its inputs: .*snow"):
        compute(spark, order)


def test_a_truncated_input_stages_nothing(spark: SparkSession, lake: Lake) -> None:
    lake.land("weather", DAYS[0], [hour("2013-01-01 05:00")])
    path(lake.files["weather", DAYS[0]]).write_bytes(b"PAR1 and then nothing")
    order = lake.order("airport_weather_hourly", DAYS[:1])
    with pytest.raises(Exception, match=r"part-0\.parquet"):
        compute(spark, order)
    assert not (path(order.output) / "report.json").exists()


def test_an_empty_input_file_is_not_an_interval_without_rows(spark: SparkSession, lake: Lake) -> None:
    for day in DAYS:
        lake.land("weather", day, [hour(f"{day} 05:00")])
    path(lake.files["weather", DAYS[1]]).write_bytes(b"")
    order = lake.order("airport_weather_hourly", DAYS)
    with pytest.raises(OrderError, match=r"1 of 3 files of weather is empty \(0 bytes\): .*=2013-01-02/"):
        compute(spark, order)
    assert not path(order.output).exists()


def test_a_retyped_input_column_stages_no_report(spark: SparkSession, lake: Lake) -> None:
    lake.land("weather", DAYS[0], [hour("2013-01-01 05:00", temp=30.0)])
    file = path(lake.files["weather", DAYS[0]])
    table = pq.ParquetFile(file).read()
    pq.write_table(table.set_column(2, "temp", pa.array(["cold"])), file)
    order = lake.order("airport_weather_hourly", DAYS[:1])
    with pytest.raises(Exception, match="temp"):
        compute(spark, order)
    assert not (path(order.output) / "report.json").exists()


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


def run_main(monkeypatch: pytest.MonkeyPatch, order: Order, lake: Lake) -> int:
    """main() in this process, whose Spark has to go on living."""
    monkeypatch.setattr(SparkSession, "stop", lambda _: None)
    file = lake.root / "order.json"
    file.write_text(order.to_json())
    return compute_module.main([uri(file)])


@pytest.mark.usefixtures("spark")
def test_an_order_for_other_code_ends_3(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order = replace(lake.order("aircraft_daily", DAYS), definition="f" * 16)
    assert run_main(monkeypatch, order, lake) == 3
    assert "on this worker, the order wants ffffffffffffffff" in capsys.readouterr().err


@pytest.mark.usefixtures("spark")
def test_an_input_that_is_gone_raises_so_that_the_process_ends_1(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.land("flights", DAYS[0], [])
    path(lake.files["flights", DAYS[0]]).unlink()
    with pytest.raises(AnalysisException, match="PATH_NOT_FOUND"):
        run_main(monkeypatch, lake.order("aircraft_daily", DAYS), lake)


def test_without_an_order_main_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert compute_module.main([]) == 3
    assert capsys.readouterr().err == "usage: compute.py ORDER_URI\n"
