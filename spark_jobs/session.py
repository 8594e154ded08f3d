"""The settings under which every compute application runs, whoever has started its Spark session."""

from __future__ import annotations

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

_SESSION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # An order names its files; looking them up one by one is faster than a Spark job that lists them.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    # No folder here is a streaming query's; looking for its log prints a stack trace where a folder does not exist yet.
    "spark.sql.streaming.fileStreamSink.ignoreMetadata": "true",
}

_NOT_AVAILABLE = "CONFIG_NOT_AVAILABLE"


def settle(spark: SparkSession) -> None:
    """Sets the session up. Databricks serverless compute has a short list of what may be set; the rest it decides itself.

    What would come out wrong without a setting is found later: publish refuses timestamps that are not microseconds.
    """
    for name, value in _SESSION.items():
        try:
            spark.conf.set(name, value)
        except PySparkException as error:
            if error.getCondition() != _NOT_AVAILABLE:
                raise
