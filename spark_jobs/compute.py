"""The compute application: one order in, staged Parquet files and a report out; started by spark-submit."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Sequence

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from spark_jobs.audit import Audit, audit_rows, broken_schema
from spark_jobs.contract import EVENT_TIMESTAMP, INTERVAL_START, ContractError, FeatureTable, RawTable
from spark_jobs.features import definition_hash, feature_tables, load_transform
from spark_jobs.order import Order, OrderError
from spark_jobs.patience import keep_watch
from spark_jobs.refused import EXIT_REFUSED, refusal
from spark_jobs.report import IntervalResult, Report
from spark_jobs.schema import schema_of
from spark_jobs.session import settle

EXIT_DATA_ERROR = 3
"""The order, the definition or the rows are broken: trying again gives the same answer."""

APPLICATION_ID = "Spark application"
"""The first line that the application prints: this and its id, which leads to its page on the master."""


def compute(spark: SparkSession, order: Order) -> Report:
    """Stages the rows of the order's intervals, audits them and writes the report, in this order.

    Rows go to `<output>/<run>/interval_start=…/`, one file per interval that has rows, sorted by event time and keys;
    `<run>` is new for every execution, so that a late twin of this application can touch nothing that was published.
    An order that already has a report is not computed again: its report is returned.
    Raises OrderError or ContractError when the order does not fit the code of this worker.
    """
    started = time.monotonic()
    settle(spark)
    finished = _read_report(spark, order)
    if finished is not None:
        return finished
    table = _agreed_table(order)
    rows = _transformed(spark, order, table)
    staged = f"{order.output.rstrip('/')}/{uuid.uuid4().hex[:12]}"
    _stage(_with_interval(rows, order), table, staged)
    audit = _audit(spark, rows, table, staged)
    report = Report(
        order_id=order.order_id,
        table=order.table,
        staged=staged,
        intervals={day: IntervalResult(build, audit.rows.get(day, 0)) for day, build in order.builds.items()},
        broken=audit.broken,
        seconds=round(time.monotonic() - started, 1),
    )
    _write_report(spark, order, report)
    return report


def read_order(spark: SparkSession, uri: str) -> Order:
    """The order at a URI of any file system Spark knows."""
    return Order.from_json("\n".join(row.value for row in spark.read.text(uri, wholetext=True).collect()))


def _agreed_table(order: Order) -> FeatureTable:
    tables = feature_tables()
    if order.table not in tables:
        raise OrderError(f"order {order.order_id}: no feature table {order.table!r}; known are {', '.join(tables)}")
    table, here = tables[order.table], definition_hash(order.table)
    if here != order.definition:
        raise OrderError(
            f"order {order.order_id}: {order.table} has definition {here} on this worker, the order wants "
            f"{order.definition}; ship the code that wrote the order, or write a new order"
        )
    expected = sorted(each.raw.name for each in table.inputs)
    if sorted(order.inputs) != expected:
        raise OrderError(f"order {order.order_id}: inputs are {sorted(order.inputs)}, {order.table} reads {expected}")
    return table


def _transformed(spark: SparkSession, order: Order, table: FeatureTable) -> DataFrame:
    frames = {each.raw.name: _read(spark, order, each.raw) for each in table.inputs}
    try:
        rows = load_transform(order.table)(**frames)
        _ = rows.schema  # a session on Spark Connect finds out only now
    except AnalysisException as error:
        raise ContractError(f"{order.table}: transform does not fit its inputs: {error.getMessage()}") from error
    return rows


def _read(spark: SparkSession, order: Order, raw: RawTable) -> DataFrame:
    files, schema = order.inputs[raw.name], schema_of(raw)
    if not files:
        return spark.range(0).select(*(F.lit(None).cast(field.dataType).alias(field.name) for field in schema.fields))
    _refuse_empty_files(spark, order, raw, files)
    return spark.read.schema(schema).option("recursiveFileLookup", "true").parquet(*files)


def _refuse_empty_files(spark: SparkSession, order: Order, raw: RawTable, files: Sequence[str]) -> None:
    """Spark skips a file of zero bytes without a word; an interval without rows has a file with a footer."""
    listed = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(list(files))
    empty = len(set(files)) - listed.select("path").count()
    if empty:
        found = {row.path for row in listed.select("path").collect()}
        names = ", ".join(sorted(file for file in files if not any(_same_file(file, other) for other in found)))
        verb = "is" if empty == 1 else "are"
        raise OrderError(
            f"order {order.order_id}: {empty} of {len(files)} files of {raw.name} {verb} empty (0 bytes): {names}"
        )


def _same_file(one: str, other: str) -> bool:
    # Spark writes file:///a as file:/a, and so on for other schemes without a host.
    return one.replace(":///", ":/") == other.replace(":///", ":/")


def _with_interval(rows: DataFrame, order: Order) -> DataFrame:
    """Adds `interval_start`, drops the periods of other intervals; a null event time stays, for the audit to find."""
    if dict(rows.dtypes).get(EVENT_TIMESTAMP) != "timestamp":
        return rows.withColumn(INTERVAL_START, F.lit(None).cast("string"))
    # The event time is the end of a period: midnight belongs to the day that it ends.
    day = F.date_format(F.col(EVENT_TIMESTAMP) - F.expr("INTERVAL 1 MICROSECOND"), "yyyy-MM-dd")
    return rows.withColumn(INTERVAL_START, day).where(F.col(INTERVAL_START).isin(*order.builds) | day.isNull())


def _stage(rows: DataFrame, table: FeatureTable, staged: str) -> None:
    names = [column.name for column in table.columns if column.name in rows.columns]
    extra = [name for name in rows.columns if name not in {*names, INTERVAL_START}]
    by_time = [name for name in (EVENT_TIMESTAMP, *(key.name for key in table.keys)) if name in names]
    (
        rows.select(*names, *extra, INTERVAL_START)
        .repartition(INTERVAL_START)
        .sortWithinPartitions(INTERVAL_START, *by_time)
        .write.partitionBy(INTERVAL_START)
        .mode("error")
        .parquet(staged)
    )


def _audit(spark: SparkSession, rows: DataFrame, table: FeatureTable, staged: str) -> Audit:
    """Judges the rows as they are in the staged files."""
    schema = StructType([*rows.schema.fields, StructField(INTERVAL_START, StringType())])
    audit = audit_rows(spark.read.schema(schema).parquet(staged), table)
    return Audit(audit.rows, (*broken_schema(rows, table), *audit.broken))


def _report_uri(order: Order) -> str:
    return f"{order.output.rstrip('/')}/report.json"


def _read_report(spark: SparkSession, order: Order) -> Report | None:
    try:
        lines = [row.value for row in spark.read.text(f"{_report_uri(order)}/part-*").collect()]
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        return None
    return Report.from_json("".join(lines)) if lines else None


def _write_report(spark: SparkSession, order: Order, report: Report) -> None:
    text = spark.range(1).select(F.lit(report.to_json()).alias("value")).coalesce(1)
    # Should a twin write its report in the same moment, the two texts together are no report, and nothing is published.
    text.write.mode("append").text(_report_uri(order))


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: staged and sound. Do not retry 3, broken data or definition, and 4, storage refuses. Else it raises."""
    if len(arguments) != 1:
        sys.stderr.write("usage: compute.py ORDER_URI\n")
        return EXIT_DATA_ERROR
    spark = SparkSession.builder.getOrCreate()  # named by --name of spark-submit
    sys.stdout.write(f"{APPLICATION_ID} {spark.sparkContext.applicationId}\n")
    sys.stdout.flush()
    try:
        keep_watch(spark)
        report = compute(spark, read_order(spark, arguments[0]))
    except (OrderError, ContractError) as error:
        sys.stderr.write(f"{error}\nNothing was staged or published.\n")
        return EXIT_DATA_ERROR
    except Exception as error:
        told = refusal(error)
        if told is None:
            raise
        sys.stderr.write(f"{told}\nNothing was published.\n")
        return EXIT_REFUSED
    finally:
        spark.stop()
    if report.broken:
        sys.stderr.write(report.verdict() + "\n")
        return EXIT_DATA_ERROR
    rows = sum(report.rows.values())
    sys.stdout.write(f"{report.table}: {len(report.rows)} intervals, {rows} rows in {report.seconds} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
