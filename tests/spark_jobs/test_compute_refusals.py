"""What compute refuses: broken rows, orders that do not fit, inputs that cannot be read; and how its process ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs import compute as compute_module
from spark_jobs.compute import compute
from spark_jobs.contract import ContractError
from spark_jobs.order import Order, OrderError
from tests.spark_jobs.frames import hour
from tests.spark_jobs.lake import Lake, path, report_on_disk, uri

DAYS = ["2013-01-01", "2013-01-02", "2013-01-03"]

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
    assert report_on_disk(order) == report
    assert len(list(path(report.staged).rglob("*.parquet"))) == 1


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
    pq.write_table(table.set_column(table.column_names.index("temp"), "temp", pa.array(["cold"])), file)
    order = lake.order("airport_weather_hourly", DAYS[:1])
    with pytest.raises(Exception, match="temp"):
        compute(spark, order)
    assert not (path(order.output) / "report.json").exists()


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
