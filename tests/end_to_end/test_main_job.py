"""The main job through real Airflow, Spark and Redis; the tests follow one another on one running environment."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
import redis

from feature_pipelines.embedded import machine
from feature_pipelines.embedded.progress import Run
from feature_pipelines.embedded.run import versions
from spark_jobs.features import feature_tables
from tests.airflow_runs import RUN_SECONDS
from tests.end_to_end.answers import online_differences, published_differences
from tests.end_to_end.conftest import Platform, interrupt, processes_of

pytestmark = pytest.mark.end_to_end

TABLES = list(feature_tables())
FIRST = ["2013-01-01", "2013-01-02"]
MORE = ["2013-01-03", "2013-01-04", "2013-01-05"]
END = "2013-01-06"
BACKFILLED = "aircraft_daily"


def online_of_all(platform: Platform, folder: Path, *, backfilled: bool) -> list[str]:
    """How the online store differs from the oracle, over all tables."""
    found = []
    for table in TABLES:
        days = FIRST + MORE if backfilled and table == BACKFILLED else FIRST
        landed = FIRST + MORE if backfilled else FIRST
        found += online_differences(platform.env, table, days, landed=landed, folder=folder)
    return found


def test_the_launcher_prints_tables_a_sample_a_training_set_and_the_login(platform: Platform) -> None:
    printed = platform.printed()
    for table in TABLES:
        version = platform.env.features(table).state().version
        assert re.search(rf"{table}\s*│\s*2 │ .*│\s*{version} │\s*{version} │", printed), printed
    assert "get_online_features of departure_delay_v1" in printed
    assert re.search(r"Training set: \d+ departures", printed)
    assert platform.settings.url in printed
    assert platform.settings.password() in printed


@pytest.mark.parametrize("table", TABLES)
def test_published_rows_equal_the_oracle(platform: Platform, table: str) -> None:
    assert published_differences(platform.env, table, FIRST, landed=FIRST) == []


def test_stock_feast_reads_online_what_the_oracle_says(platform: Platform, tmp_path: Path) -> None:
    assert online_of_all(platform, tmp_path, backfilled=False) == []


def test_running_again_commits_nothing_and_gives_the_same_answer(platform: Platform, tmp_path: Path) -> None:
    before = versions(platform.env)
    platform.run_days(FIRST[0], MORE[0])
    assert versions(platform.env) == before
    assert online_of_all(platform, tmp_path, backfilled=False) == []


def test_an_overlapping_backfill_that_runs_backwards_ends_with_the_oracle(platform: Platform, tmp_path: Path) -> None:
    platform.finish(platform.start("land_flights", MORE[0], END))
    dates = ["--from-date", MORE[0], "--to-date", MORE[-1]]
    options = ["--run-backwards", "--max-active-runs", "3"]
    platform.airflow("backfill", "create", "--dag-id", BACKFILLED, *dates, *options)
    platform.finish(*backfill_runs(platform, len(MORE)))
    days = FIRST + MORE
    assert published_differences(platform.env, BACKFILLED, days, landed=days) == []
    assert online_of_all(platform, tmp_path, backfilled=True) == []


def test_a_flushed_redis_is_filled_again_by_one_run_of_each_table(platform: Platform, tmp_path: Path) -> None:
    before = versions(platform.env)
    with redis.Redis(host=machine.LOOPBACK, port=platform.settings.redis_port) as client:
        client.flushall()
    platform.finish(*[platform.start(table, FIRST[0], FIRST[1]) for table in TABLES])
    assert versions(platform.env) == before
    assert online_of_all(platform, tmp_path, backfilled=True) == []


def test_secrets_are_readable_by_their_owner_only(platform: Platform) -> None:
    airflow = platform.settings.airflow_home / "simple_auth_manager_passwords.json.generated"
    for file in (platform.settings.home / "secrets.json", airflow):
        assert file.stat().st_mode & 0o077 == 0, file


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_leaves_no_process(platform: Platform) -> None:
    assert processes_of(platform.settings.home)
    assert interrupt(platform.launcher) == 0
    assert processes_of(platform.settings.home) == []


def backfill_runs(platform: Platform, count: int) -> list[Run]:
    """The runs of the backfill, once Airflow has made all of them."""
    deadline = time.monotonic() + RUN_SECONDS
    while True:
        found = [run for dag, run in platform.api.progress(["backfill__"]) if dag == BACKFILLED]
        if len(found) == count:
            return [Run(BACKFILLED, run, run) for run in found]
        assert time.monotonic() < deadline, found
        time.sleep(1)
