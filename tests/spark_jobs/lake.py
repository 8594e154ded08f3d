"""A folder that looks like the two lakes to a compute application: raw Parquet files per day, and orders over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.features import definition_hash, feature_tables
from spark_jobs.interval import Interval
from spark_jobs.order import Order, OrderedInterval
from spark_jobs.raw import RAW_TABLES
from spark_jobs.report import Report
from tests.spark_jobs.frames import Row

ARROW = {
    "string": pa.string(),
    "int32": pa.int32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}
BUILD = "0123456789abcdef"


@dataclass
class Lake:
    root: Path
    files: dict[tuple[str, str], str] = field(default_factory=dict)

    def land(self, source: str, day: str, rows: Iterable[Row]) -> None:
        schema = pa.schema([(column.name, ARROW[column.dtype]) for column in RAW_TABLES[source].columns])
        file = self.root / "raw" / source / f"interval_start={day}" / f"build={BUILD}" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema), file)
        self.files[source, day] = uri(file)

    def order(self, table: str, days: Iterable[str], *, order_id: str = "o1") -> Order:
        intervals = [Interval.day(day) for day in days]
        inputs = {}
        for each in feature_tables()[table].inputs:
            wanted = {day.partition for interval in intervals for day in interval.widen(each.lookback_days).days()}
            inputs[each.raw.name] = tuple(
                file for (source, day), file in sorted(self.files.items()) if source == each.raw.name and day in wanted
            )
        return Order(
            order_id=order_id,
            table=table,
            definition=definition_hash(table),
            intervals=tuple(OrderedInterval(interval, BUILD) for interval in intervals),
            inputs=inputs,
            output=uri(self.root / "features" / table / "staging" / order_id),
        )


def uri(file: Path) -> str:
    # Not Path.as_uri(): it escapes "=", and Spark takes paths as they are.
    return f"file://{file}"


def path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def staged_files(report: Report) -> dict[str, list[Path]]:
    """Partition value -> its Parquet files."""
    folders = sorted(path(report.staged).glob("interval_start=*"))
    return {folder.name.partition("=")[2]: sorted(folder.glob("*.parquet")) for folder in folders}


def staged_rows(report: Report) -> list[Row]:
    """All staged rows, interval after interval, each as it is in its file."""
    files = [file for parts in staged_files(report).values() for file in parts]
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def report_on_disk(order: Order) -> Report:
    """What the application wrote for a reader of its own."""
    return Report.from_json("".join(part.read_text() for part in path(order.output).glob("report.json/part-*")))
