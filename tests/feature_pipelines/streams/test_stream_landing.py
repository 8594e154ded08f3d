"""Weather landed from a stream (Capture files, so that no broker is needed): what lands, what does not, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pytest

from feast_lakehouse.errors import DataError
from feature_pipelines import tasks
from feature_pipelines.environment import Environment, EnvironmentBroken
from feature_pipelines.landing import land
from feature_pipelines.sources import source
from feature_pipelines.streams.capture_log import CaptureLog
from feature_pipelines.streams.log import Span
from feature_pipelines.streams.offsets import read_offsets
from feature_pipelines.streams.retelling import Faults, messages
from spark_jobs.interval import Interval
from tests import oracle, oracle_events
from tests.feature_pipelines.streams.captured import (
    CAPTURE_SCHEMA,
    capture_env,
    capture_folder,
    lands,
    reading,
    record,
    rows,
    stream_env,
    weather_stream,
    write_capture,
    write_file,
)
from tests.oracle_events import Message

DAY, NEXT = "2013-01-02", "2013-01-03"
WINDOW = Interval.parse("2013-01-01", "2013-01-05")


def at(hours: float, seconds: float = 0) -> datetime:
    return Interval.day(DAY).start + timedelta(hours=hours, seconds=seconds)


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return capture_env(tmp_path)


def landed(env: Environment, *told: Message) -> list[str]:
    """The reasons of what did not land, after the messages and one of the day after were captured."""
    write_capture(capture_folder(env), told)
    report = lands(env, DAY)
    assert report.rows + report.rejected == len(told)
    return [row["reason"] for row in rows(env, "raw/weather_rejected")]


def retold(faults: Faults) -> list[Message]:
    """The real readings, airport by airport in its partition."""
    partitions = {"EWR": 0, "JFK": 1, "LGA": 2}
    return [(partitions[each.key], each.known_at, each.value) for each in messages(WINDOW, faults)]


def test_on_time_readings_land_as_they_do_from_the_package(env: Environment, tmp_path: Path) -> None:
    write_capture(capture_folder(env), retold(Faults()))
    packaged = stream_env(tmp_path, {"kind": "packaged"}, "packaged")
    streamed, expected = (land(each, "weather", WINDOW) for each in (env, packaged))
    assert [day.build for day in streamed] == [day.build for day in expected]
    assert [day.rejected for day in streamed] == [0, 0, 0, 0]
    days = [day.partition for day in WINDOW.days()]
    names = ("origin", "observed_at", "known_at")
    by_key = sorted(oracle.weather(days), key=lambda row: tuple(row[name] for name in names))
    assert rows(env) == by_key


@pytest.mark.parametrize("seed", [1, 2])
def test_late_doubled_and_broken_messages_equal_the_oracle_and_again_are_no_commit(env: Environment, seed: int) -> None:
    told = retold(Faults(late=0.2, doubled=0.2, broken=0.1, seed=seed))
    write_capture(capture_folder(env), told)
    days = [day.partition for day in WINDOW.days()]
    first = land(env, "weather", WINDOW)
    assert rows(env) == oracle_events.raw(told, days)
    assert [day.rejected for day in first] == [oracle_events.rejected(told, day) for day in days]
    assert sum(day.rejected for day in first) > 20
    assert any(row["known_at"].date() > row["observed_at"].date() for row in rows(env))
    again = land(env, "weather", WINDOW)
    assert not any(day.changed for day in again)
    assert [day.version for day in again] == [first[-1].version] * len(days)


def test_a_repetition_does_not_land_and_a_correction_lands_beside_the_first(env: Environment) -> None:
    hour = "2013-01-02T10:00:00Z"
    reasons = landed(
        env,
        (0, at(10.9), reading(hour)),
        (0, at(11.5), reading(hour)),
        (1, at(12), reading(hour, temp=40.5)),
        (0, at(13), reading(hour)),
        (0, at(13), reading(hour, origin="JFK")),
    )
    assert reasons == ["partition 0 offset 1: the same was told at 2013-01-02 10:54:00+00"]
    told = [(row["origin"], row["known_at"], row["temp"]) for row in rows(env)]
    assert told == [("EWR", at(10.9), 39.0), ("EWR", at(12), 40.5), ("EWR", at(13), 39.0), ("JFK", at(13), 39.0)]


def test_of_two_corrections_in_one_millisecond_the_last_in_the_stream_stays(env: Environment) -> None:
    hour = "2013-01-02T10:00:00Z"
    reasons = landed(env, (0, at(11), reading(hour, temp=1)), (0, at(11), reading(hour, temp=2)))
    assert reasons == ["partition 0 offset 0: replaced in the same millisecond"]
    assert [row["temp"] for row in rows(env)] == [2.0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xfe\x00", "not JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "not JSON: "),
        (b'{"temp": NaN}', "not JSON: NaN is no JSON number"),
        (b"[1, 2]", "not a JSON object: [1, 2]"),
        (b'"warm"', 'not a JSON object: "warm"'),
        (b'{"origin": "EWR"}', "missing: observed_at, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, "),
        (reading("2013-01-02T10:00:00Z", snow=1, ash=2), "not in the contract: ash, snow"),
        (reading("2013-01-02T10:00:00Z", temp="39"), 'temp: expected a number, found "39"'),
        (reading("2013-01-02T10:00:00Z", temp=True, visib=[]), "temp: expected a number, found true; visib: expected"),
        (reading("2013-01-02T10:00:00Z", temp=10**400), "temp: expected a number, found 1000"),
        (reading("2013-01-02T10:00:00Z").replace(b"39.0", b"1e999"), "temp: expected a number, found Infinity"),
        (reading("2013-01-02T10:00:00"), 'observed_at: expected a time with its offset from UTC, found "2013-01-02T10'),
        (reading("0001-01-01T00:00:00+14:00"), "observed_at: expected a time with its offset from UTC"),
        (reading("2013-01-02T10:00:00Z", origin=7), "origin: expected a text, found 7"),
        (reading("2013-01-02T10:00:00Z", origin="\ud800"), 'origin: expected a text, found "\\ud800"'),
        (reading("2013-01-02T10:00:00Z", origin=None), "origin is null"),
        (reading("2013-01-02T10:00:00Z", wind_speed=1048.3), "wind_speed 1048.3 is above the maximum 200 mph"),
        (reading("2013-01-02T10:30:00Z"), "observed_at 2013-01-02 10:30:00+00:00 is not a whole hour"),
        (reading("2013-01-02T12:00:00Z"), "observed_at 2013-01-02 12:00:00+00:00 is later than it became known"),
        (reading("2012-12-30T10:00:00Z"), "observed_at 2012-12-30 10:00:00+00:00 became known more than 2 days after"),
    ],
)
def test_a_poison_message_is_quarantined_with_its_place_and_reason(env: Environment, value: bytes, reason: str) -> None:
    sound = (0, at(10.9), reading("2013-01-02T10:00:00Z"))
    (found,) = landed(env, sound, (0, at(11), value))
    assert found.startswith(f"partition 0 offset 1: {reason}")
    assert len(rows(env)) == 1
    (row,) = rows(env, "raw/weather_rejected")
    assert row["known_at"] == at(11)


def test_a_reading_of_the_last_possible_day_lands(env: Environment) -> None:
    assert landed(env, (0, at(23.99), reading("2012-12-31T00:00:00Z"))) == []


def test_a_heartbeat_is_no_row(env: Environment) -> None:
    folder = capture_folder(env)
    write_file(folder, 0, at(1), [record(0, at(1), reading("2013-01-02T00:00:00Z"))])
    write_file(folder, 0, at(24), [record(1, at(23), None, heartbeat="1"), record(2, at(24), None, heartbeat="1")])
    assert (lands(env, DAY).rows, lands(env, DAY).rejected) == (1, 0)


def test_the_lag_is_what_the_stream_holds_after_the_day(env: Environment) -> None:
    write_capture(capture_folder(env), [(n % 3, at(n), reading(f"2013-01-02T{n:02}:00:00Z")) for n in range(24)])
    write_capture(capture_folder(env), [(2, at(24 + n), b"{}") for n in range(5)], first=8)
    report = lands(env, DAY)
    assert (report.lag, report.lag_by_partition) == (5, "0: 0, 1: 0, 2: 5")


def test_the_landing_task_tells_the_lag(
    env: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_capture(capture_folder(env), [(0, at(1), reading("2013-01-02T00:00:00Z")), (0, at(25), b"{}")])
    monkeypatch.setattr("feature_pipelines.environment.load", lambda: env)
    with caplog.at_level("INFO"):
        report = tasks.land("weather", params={"start": DAY, "allow_shrink": False})
    assert (report["lag"], report["lag_by_partition"]) == (1, "0: 1")
    assert "lag 1, lag_by_partition 0: 1" in caplog.text


def test_offsets_are_settled_before_a_record_is_read(env: Environment) -> None:
    write_capture(capture_folder(env), [(0, at(n), reading(f"2013-01-02T{n:02}:00:00Z")) for n in range(10)])
    fixed = weather_stream(env).fixed(Interval.day(DAY))
    stored = read_offsets(fixed.offsets, DAY)
    assert stored is not None
    assert stored == fixed.settled
    assert [(span.first, span.end) for span in stored.spans] == [(0, 10)]
    assert not env.raw("weather").exists()


def test_records_that_turn_up_later_are_in_the_next_day_and_the_landed_one_stays(env: Environment) -> None:
    folder = capture_folder(env)
    write_capture(folder, [(0, at(n), reading(f"2013-01-02T{n:02}:00:00Z")) for n in range(3)])
    first = lands(env, DAY)
    late = record(3, at(5), reading("2013-01-02T03:00:00Z"))
    write_file(folder, 0, at(26), [late, record(4, at(26), reading("2013-01-03T01:00:00Z"))])
    assert not lands(env, DAY).changed
    assert first.rows == 3
    assert lands(env, NEXT).rows == 2
    known = {row["observed_at"]: row["known_at"] for row in rows(env)}
    assert known[at(3)] == at(24)  # it cannot have been known in the day that was settled without it


def test_a_deleted_file_is_an_error_and_what_landed_stays(env: Environment) -> None:
    folder = capture_folder(env)
    write_capture(folder, [(0, at(n), reading(f"2013-01-02T{n:02}:00:00Z")) for n in range(21)])
    lands(env, DAY)
    before = rows(env)
    files = sorted(folder.rglob("*.avro"))
    files[7].unlink()  # in the middle
    with pytest.raises(DataError, match=r"partition 0 has no file with sequence numbers 7 to 7; was one deleted"):
        lands(env, DAY)
    files[0].unlink()
    with pytest.raises(DataError, match=r"(?s)offsets 0 to 20: the lowest offset that is still held is 1\n"):
        lands(env, DAY)
    assert rows(env) == before


def test_a_stream_made_anew_is_told_and_settled_again_only_when_asked(env: Environment) -> None:
    folder = capture_folder(env)
    write_capture(folder, [(0, at(n), reading(f"2013-01-02T{n:02}:00:00Z")) for n in range(21)])
    lands(env, DAY)
    for file in folder.rglob("*.avro"):
        file.unlink()
    write_capture(folder, [(0, at(n), reading(f"2013-01-02T{n:02}:00:00Z")) for n in range(9)])
    with pytest.raises(DataError, match="was the stream deleted and made anew"):
        lands(env, DAY)
    assert len(rows(env)) == 21
    assert lands(env, DAY, allow_shrink=True).rows == 9
    assert not lands(env, DAY).changed


def test_a_renamed_topic_is_told(env: Environment, tmp_path: Path) -> None:
    write_capture(capture_folder(env), [(0, at(1), reading("2013-01-02T00:00:00Z"))])
    lands(env, DAY)
    settings = {"kind": "capture", "topic": "weather2", "path": f"file://{capture_folder(env)}"}
    renamed = stream_env(tmp_path / "renamed", settings)
    moved = Environment(renamed.name, env.home, renamed.checkout, env.variables)
    with pytest.raises(DataError, match=r"is settled in topic weather \(None\), found topic weather2"):
        lands(moved, DAY)


def test_records_that_capture_wrote_twice_land_once(env: Environment) -> None:
    records = [record(n, at(n), reading(f"2013-01-02T{n:02}:00:00Z")) for n in range(9)]
    write_file(capture_folder(env), 0, at(0), records[:6])
    write_file(capture_folder(env), 0, at(4), records[3:])
    assert (lands(env, DAY).rows, lands(env, DAY).rejected) == (9, 0)


def test_files_that_are_not_captures_are_told(env: Environment) -> None:
    with pytest.raises(DataError, match=r"expected files such as .*found none. Check `path`"):
        lands(env, DAY)
    file = capture_folder(env) / "0/2013/01/02/00/05/00.avro"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"Obj\x01 and then nothing")
    with pytest.raises(DataError, match="is no whole Avro file"):
        lands(env, DAY)


def test_a_damaged_file_is_told_by_name(env: Environment) -> None:
    told = [record(n, at(n / 60), reading(f"2013-01-02T{n // 3:02}:00:00Z", temp=n)) for n in range(40)]
    file = write_file(capture_folder(env), 0, at(0), told)
    whole, errors = file.read_bytes(), []
    log = CaptureLog(env.lakes.resolve("lake://cloud/capture/ns/weather"))
    for place in range(0, len(whole), 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            list(log.read(Span(0, 0, 40)))
        except DataError as error:
            errors.append(str(error))
    assert len(errors) > 100
    gap = "has no file with sequence numbers"  # bytes that still are a record, with another number
    assert [text for text in errors if "0/2013/01/02/00/00/00.avro: " not in text and gap not in text] == []


def test_a_file_with_other_types_is_not_captures(env: Environment) -> None:
    fields: Any = [
        field | {"type": "string"} if field["name"] == "SequenceNumber" else field for field in CAPTURE_SCHEMA["fields"]
    ]
    file = write_file(capture_folder(env), 0, at(0), [])
    with file.open("wb") as stream:
        odd = record(0, at(1), reading("2013-01-02T00:00:00Z")) | {"SequenceNumber": "first"}
        fastavro.writer(stream, CAPTURE_SCHEMA | {"fields": fields}, [odd])
    with pytest.raises(DataError, match=r"00.avro: it is not Capture's, its records lack SequenceNumber"):
        lands(env, DAY)


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", ["2013-01-02T01:00:00", "2013-01-02T01:00:00Z", "2013-01-02T03:00:00+02:00"])
def test_an_enqueued_time_is_utc_wherever_it_is_read(env: Environment, in_new_york: None, text: str) -> None:
    told = record(0, at(1), reading("2013-01-02T00:00:00Z")) | {"EnqueuedTimeUtc": text}
    write_file(capture_folder(env), 0, at(0), [told])
    assert lands(env, DAY).rows == 1
    assert [row["known_at"] for row in rows(env)] == [at(1)]


def test_a_day_that_is_not_over_is_not_settled(env: Environment) -> None:
    write_capture(capture_folder(env), [(0, at(1), reading("2013-01-02T00:00:00Z"))])
    with pytest.raises(Exception, match=r"is not over before 9999-01-02 00:20Z"):
        lands(env, "9999-01-01")
    assert not weather_stream(env).offsets.exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "pigeon"}, r"sources.weather.kind: expected packaged, events or capture, found 'pigeon'"),
        ({"kind": "events"}, "missing topic"),
        ({"kind": "capture", "topic": "t", "paht": "x"}, "missing path; not known: paht"),
    ],
)
def test_settings_that_make_no_sense_are_told(tmp_path: Path, settings: dict[str, str], told: str) -> None:
    with pytest.raises(EnvironmentBroken, match=told):
        source(stream_env(tmp_path, settings), "weather")


def test_the_same_source_module_serves_both_environments(tmp_path: Path, env: Environment) -> None:
    packaged = stream_env(tmp_path, {"kind": "packaged"}, "packaged")
    one, other = source(packaged, "weather"), source(env, "weather")
    assert not one.is_stream
    assert other.is_stream
    assert (one.contract, one.first_day, one.last_day) == (other.contract, other.first_day, other.last_day)


def test_a_window_of_a_replay_is_the_sum_of_its_days() -> None:
    faults = Faults(late=0.3, doubled=0.3, broken=0.3)
    whole = messages(WINDOW, faults)
    assert [message for day in WINDOW.days() for message in messages(day, faults)] == whole
    assert all(json.loads(message.value)["origin"] == message.key for message in messages(WINDOW))
    assert len(messages(WINDOW, Faults(doubled=0.5))) > len(messages(WINDOW))
