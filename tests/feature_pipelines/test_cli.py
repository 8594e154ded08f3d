"""The command line by hand: a day from source to Redis, and what it says when something is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from feature_pipelines.cli import main
from feature_pipelines.environment import CHECKOUT
from spark_jobs.features import feature_tables
from tests.servers import RedisServer

TABLE = "airport_weather_hourly"
DAYS = ("--start", "2013-02-11", "--end", "2013-02-13")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_FEAST_HOME", str(tmp_path))
    monkeypatch.setenv("MY_FEAST_CHECKOUT", str(CHECKOUT))
    monkeypatch.setenv("MY_FEAST_ENVIRONMENT", "embedded")
    monkeypatch.setenv("MY_FEAST_REDIS", "127.0.0.1:1")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(arguments) == 0
    return capsys.readouterr().out.splitlines()


def fail(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main(arguments) == code
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told


@pytest.mark.usefixtures("redis")
def test_two_days_by_hand_from_source_to_redis(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    monkeypatch.setenv("MY_FEAST_REDIS", redis_server.connection_string)
    assert run(capsys, "land", "weather", *DAYS) == [
        "weather 2013-02-11: 72 rows landed, 0 rejected, version 0",
        "weather 2013-02-12: 71 rows landed, 1 rejected, version 1",
        "weather: 2 of 2 days changed",
    ]
    assert run(capsys, "land", "weather", *DAYS)[-1] == "weather: 0 of 2 days changed"
    assert [line.split()[:3] for line in run(capsys, "plan", "--lakes-only")[1:]] == [
        [TABLE, "2013-02-11", "missing"],
        [TABLE, "2013-02-12", "missing"],
    ]
    (computed,) = run(capsys, "compute", TABLE, *DAYS)
    assert re.fullmatch(rf"{TABLE}: 2 intervals, 143 rows in \d+ s, version 0", computed)
    assert run(capsys, "compute", TABLE, *DAYS) == [f"{TABLE}: every interval is current, nothing to compute"]
    assert "is the registry" in fail(capsys, 3, "materialize", TABLE).lower()
    assert f"create feature view {TABLE}" in run(capsys, "apply")
    assert [line.split()[1:4] for line in run(capsys, "plan")[1:]] == [
        [f"2013-02-1{n}", "not", "materialized"] for n in (1, 2)
    ]
    (online,) = run(capsys, "materialize", TABLE)
    assert online.startswith(f"{TABLE}: version 0 is online, 143 rows read, 3 keys written, 0 retracted")
    assert run(capsys, "materialize", TABLE) == [f"{TABLE}: version 0 is online already"]
    assert run(capsys, "verify", TABLE)[0].startswith(f"{TABLE}: 3 keys online by count, as version 0 says")
    assert "3 compared" in run(capsys, "verify", TABLE, "--all")[0]
    assert run(capsys, "plan") == ["Nothing to do: every landed interval is computed and online."]
    (line,) = [line for line in run(capsys, "status") if line.startswith(TABLE)]
    *told, bytes_per_key, day, hour = line.split()
    assert (told, day, hour) == ([TABLE, "2", "143", "0", "0", "3"], "2013-02-13", "00:00Z")
    assert int(bytes_per_key) > 100


def test_status_and_plan_of_an_empty_lake(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "status", "--lakes-only")
    assert text[0] == "environment embedded, project my_feast"
    assert [line.split()[0] for line in text[-4:]] == sorted(feature_tables())
    assert run(capsys, "plan", "--lakes-only") == ["Nothing to do: every landed interval is computed."]


def test_days_that_have_not_landed_are_a_data_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Land them first." in fail(capsys, 3, "compute", TABLE, *DAYS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["land", "weather", "--start", "tomorrow"], "'tomorrow'"),
        (["land", "weather", "--start", "2013-01-02", "--end", "2013-01-01"], "start must be before its end"),
        (["land", "weather", "--start", "2013-01-01", "--end", "2013-01-01T06:00:00Z"], "whole UTC days"),
        (["replay", *DAYS], "environment embedded: weather is no event stream there"),
        (["replay", *DAYS, "--late", "2", "--broken", "-1"], "late, broken: expected a share from 0 to 1"),
    ],
)
def test_arguments_that_make_no_sense_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in fail(capsys, 2, *arguments)


def test_an_unknown_environment_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_FEAST_ENVIRONMENT", "moon")
    assert "Known environments: azure, cluster, embedded" in fail(capsys, 2, "status", "--lakes-only")


@pytest.mark.parametrize(
    "arguments", [["compute", "nothing", *DAYS], ["land", "nothing", *DAYS], ["land", "weather"], []]
)
def test_choices_come_from_discovery(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: my-feast" in capsys.readouterr().err


def test_redis_that_cannot_be_reached_is_a_transport_error(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "apply")
    assert "127.0.0.1:1" in fail(capsys, 1, "status")


def test_docs_are_written_once_and_checked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_FEAST_CHECKOUT", str(tmp_path))
    assert "Run `my-feast docs`" in fail(capsys, 3, "docs", "--check")
    assert run(capsys, "docs") == ["docs/tables.md written"]
    assert run(capsys, "docs") == run(capsys, "docs", "--check") == ["docs/tables.md is up to date"]
    assert (tmp_path / "docs" / "tables.md").read_text().startswith("# Tables")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m feature_pipelines status --lakes-only; echo $? >&2"
    done = subprocess.run(
        ["/bin/bash", "-c", f"({command}) | true"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ".:plugins"},
    )
    assert done.stderr.strip() == "0"
