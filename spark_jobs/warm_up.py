"""An application that does once, on one row, all that compute does: the run from which Java's class archive is made."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.compute import compute
from spark_jobs.contract import RawTable
from spark_jobs.features import definition_hash, feature_tables
from spark_jobs.interval import Interval
from spark_jobs.order import Order, OrderedInterval
from spark_jobs.raw import RAW_TABLES
from spark_jobs.schema import schema_of

_DAY = Interval.day("2000-01-01")


def warm_up(spark: SparkSession, folder: Path) -> None:
    """Computes every table from raw rows that are all null, below the folder."""
    for raw in RAW_TABLES.values():
        _write_nothing_known(spark, raw, folder / raw.name)
    for name, table in feature_tables().items():
        order = Order(
            order_id="warm-up",
            table=name,
            definition=definition_hash(name),
            intervals=(OrderedInterval(_DAY, "0" * 16),),
            inputs={
                each.raw.name: tuple(f"file://{file}" for file in (folder / each.raw.name).glob("*.parquet"))
                for each in table.inputs
            },
            output=f"file://{folder}/{name}",
        )
        compute(spark, order)


def _write_nothing_known(spark: SparkSession, raw: RawTable, target: Path) -> None:
    nulls = (F.lit(None).cast(field.dataType).alias(field.name) for field in schema_of(raw).fields)
    spark.range(1).select(*nulls).coalesce(1).write.parquet(f"file://{target}")


def main() -> int:
    """Leaves nothing behind but what Java was told to record."""
    spark = SparkSession.builder.appName("my-feast warm-up").getOrCreate()
    with tempfile.TemporaryDirectory(prefix="my-feast-warm-up-") as folder:
        warm_up(spark, Path(folder))
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
