"""The compute application as spark-submit starts it: the shipped zip, a real order, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs import submit
from spark_jobs.features import feature_tables
from spark_jobs.warm_up import warm_up
from tests.spark_jobs.frames import flight
from tests.spark_jobs.lake import Lake, report_on_disk, staged_files, uri

DAYS = ["2013-01-01", "2013-01-02"]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    lake.land("flights", DAYS[0], [flight("2013-01-01 10:00"), flight("2013-01-01 10:30", tailnum="N2", flight=2)])
    return lake


def submitted(lake: Lake, text: str) -> subprocess.CompletedProcess[str]:
    """Runs the order from a folder and an environment in which only the zip holds spark_jobs."""
    order = lake.root / "features" / "aircraft_daily" / "_orders" / "o1.json"
    order.parent.mkdir(parents=True)
    order.write_text(text)
    package = submit.package_zip(lake.root / "spark_jobs.zip")
    conf = [part for name, value in submit.quick_conf().items() for part in ("--conf", f"{name}={value}")]
    spark_submit = Path(sys.executable).with_name("spark-submit")
    command = [
        str(spark_submit),
        "--master",
        "local[2]",
        *conf,
        "--py-files",
        str(package),
        str(submit.APPLICATION),
        uri(order),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYSPARK_PYTHON": sys.executable, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        command, cwd=lake.root, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


def test_a_sound_order_ends_0_with_staged_rows(lake: Lake) -> None:
    done = submitted(lake, lake.order("aircraft_daily", DAYS).to_json())
    assert done.returncode == 0, done.stderr
    assert "aircraft_daily: 2 intervals, 2 rows" in done.stdout
    assert report_on_disk(lake.order("aircraft_daily", DAYS)).rows == {DAYS[0]: 2, DAYS[1]: 0}
    assert not (lake.root / "spark-warehouse").exists()


def test_a_broken_audit_ends_3_says_why_and_keeps_the_rows(lake: Lake) -> None:
    lake.land("flights", DAYS[1], [flight("2013-01-02 10:00", distance=200_000.0)])
    done = submitted(lake, lake.order("aircraft_daily", DAYS).to_json())
    report = report_on_disk(lake.order("aircraft_daily", DAYS))
    assert done.returncode == 3, done.stderr
    assert report.verdict() in done.stdout  # spark-submit shows there what Python writes to stderr
    assert report.broken == ("distance: maximum 100000, found 200000.0 in 1 row (2013-01-02)",)
    assert sorted(staged_files(report)) == DAYS


def test_the_package_is_the_same_archive_every_time_and_whole(tmp_path: Path) -> None:
    one, other = submit.package_zip(tmp_path / "one.zip"), submit.package_zip(tmp_path / "other.zip")
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:
        names = archive.namelist()
    assert {"spark_jobs/__init__.py", "spark_jobs/compute.py", "spark_jobs/features/aircraft_daily.py"} <= set(names)
    assert all(name.endswith(".py") for name in names)


def test_warming_up_computes_every_table(spark: SparkSession, tmp_path: Path) -> None:
    warm_up(spark, tmp_path)
    assert {report.parent.name for report in tmp_path.glob("*/report.json")} == set(feature_tables())
    assert list(tmp_path.glob("airport_weather_hourly/*/*/*.parquet"))


def test_a_class_archive_is_written_by_one_conf_and_read_by_the_other(tmp_path: Path) -> None:
    archive = tmp_path / "classes.jsa"
    plain, reading, recording = submit.quick_conf(), submit.quick_conf(archive), submit.recording_conf(archive)
    options = "spark.driver.extraJavaOptions"
    assert plain.keys() == reading.keys() == recording.keys()
    assert str(archive) not in plain[options]
    assert reading[options].endswith(f"-XX:SharedArchiveFile={archive}")
    assert recording[options].endswith(f"-XX:ArchiveClassesAtExit={archive}")
