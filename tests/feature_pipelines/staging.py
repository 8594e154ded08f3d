"""What a Spark application leaves for an order, made without Spark: staged Parquet files and a report."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_pipelines.schemas import feature_schema
from spark_jobs.features import feature_tables
from spark_jobs.order import Order
from spark_jobs.report import IntervalResult, Report

WEATHER_ROW = {"temp": 39.0, "wind_speed": 10.0, "visib": 10.0, "precip": 0.0, "pressure": 1012.0}


def weather_row(hour: str, **values: Any) -> dict[str, Any]:
    """A row of airport_weather_hourly at EWR whose hour ends then."""
    return {"origin": "EWR", "event_timestamp": datetime.fromisoformat(f"{hour}+00:00"), **WEATHER_ROW, **values}


def stage(
    order: Order,
    rows: dict[str, list[dict[str, Any]]],
    *,
    broken: tuple[str, ...] = (),
    counts: dict[str, int] | None = None,
) -> None:
    """Stages the rows of each partition and writes the report last, as spark_jobs.compute does.

    `counts` are the rows it reports, if those are not the rows it staged.
    """
    output = Path(order.output.removeprefix("file://"))
    staged = output / "0123456789ab"
    schema = feature_schema(feature_tables()[order.table])
    for partition, found in rows.items():
        folder = staged / f"interval_start={partition}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(found, schema=schema), folder / "part-00000.snappy.parquet")
    counted = {day: len(found) for day, found in rows.items()} | (counts or {})
    results = {day: IntervalResult(build, counted.get(day, 0)) for day, build in order.builds.items()}
    report = Report(order.order_id, order.table, f"file://{staged}", results, broken, 1.0)
    write_report(order, report.to_json())


def write_report(order: Order, text: str) -> None:
    """As a folder that Spark wrote, cut into two parts."""
    folder = Path(order.output.removeprefix("file://")) / "report.json"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_SUCCESS").touch()
    (folder / "part-00000-a.txt").write_text(text[:20])
    (folder / "part-00001-a.txt").write_text(text[20:])
