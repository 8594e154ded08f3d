"""The compute application as a Python wheel task on Databricks: one parameter, `--order=URI`.

Databricks calls the entry point inside a session of its own and looks neither at its return value nor at an exit code:
only an exception makes the run fail, its class and text become the run's error, and the session must not be stopped.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from spark_jobs.compute import compute, read_order
from spark_jobs.wheel import PARAMETER


class BrokenPromises(Exception):
    """The audit refused the staged rows; the report beside them says the same. Trying again gives the same answer."""


def main() -> None:
    """Computes the order. Raises OrderError or ContractError for code that does not fit it, BrokenPromises for its rows."""
    spark = SparkSession.builder.getOrCreate()
    report = compute(spark, read_order(spark, _order_uri(sys.argv[1:])))
    if report.broken:
        raise BrokenPromises(report.verdict())
    told = f"{report.table}: {len(report.rows)} intervals, {sum(report.rows.values())} rows in {report.seconds} s"
    sys.stdout.write(f"{told}\n")


def _order_uri(arguments: list[str]) -> str:
    name, _, uri = " ".join(arguments).partition("=")
    if name != f"--{PARAMETER}" or not uri:
        raise ValueError(f"expected the one parameter --{PARAMETER}=URI, found {arguments}")
    return uri
