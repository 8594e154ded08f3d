"""What landing does with good and with bad input: every verdict, and that nothing half-lands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.environment import Environment
from feature_pipelines.landing import LandingReport, _Judged, land, land_day
from feature_pipelines.sources import Source, sources
from feature_pipelines.sources.flights import COLUMNS as FLIGHT_COLUMNS
from feature_pipelines.sources.flights import Flights
from feature_pipelines.sources.weather import Weather
from spark_jobs.interval import Interval

DAY = Interval.day("2013-01-02")
MakeFlights, MakeWeather = Callable[..., Flights], Callable[..., Weather]


def read(ref: TableRef) -> list[dict[str, Any]]:
    state = ref.state()
    found: list[dict[str, Any]] = ref.dataset(state.files, state.version).to_table().to_pylist()
    return found


def reasons(env: Environment, source: str) -> list[str]:
    return [row["reason"] for row in read(env.rejected(source))]


def lands(env: Environment, source: Source, day: Interval = DAY) -> tuple[int, int]:
    report = land_day(env, source, day)
    given = sum(batch.num_rows for batch in source.batches(day))
    assert (
        given == report.rows + report.rejected == len(read(env.raw(source.name))) + len(read(env.rejected(source.name)))
    )
    return report.rows, report.rejected


def test_a_real_day_lands_once_and_the_same_content_again_is_no_commit(env: Environment) -> None:
    (first,) = land(env, "flights", Interval.day("2013-01-01"))
    assert first == LandingReport("flights", "2013-01-01", 709, 0, 0, first.build, changed=True)
    (again,) = land(env, "flights", Interval.day("2013-01-01"))
    assert again == LandingReport("flights", "2013-01-01", 709, 0, 0, first.build, changed=False)
    assert (env.raw("flights").state().version, env.rejected("flights").state().version) == (0, 0)


def test_each_day_of_a_window_is_its_own_interval(env: Environment) -> None:
    reports = land(env, "weather", Interval.parse("2013-01-01", "2013-01-04"))
    assert [(r.partition, r.rows, r.version) for r in reports] == [
        ("2013-01-01", 52, 0),
        ("2013-01-02", 72, 1),
        ("2013-01-03", 72, 2),
    ]
    assert env.raw("weather").live_builds() == {report.partition: report.build for report in reports}


def test_a_window_that_is_not_whole_utc_days_is_refused(env: Environment) -> None:
    with pytest.raises(ValueError, match="whole UTC days"):
        land(env, "weather", Interval.parse("2013-01-01", "2013-01-01T06:00:00Z"))


def test_an_interval_without_rows_succeeds_with_a_zero_row_file(env: Environment) -> None:
    (report,) = land(env, "weather", Interval.day("2013-12-31"))
    assert (report.rows, report.rejected, report.changed) == (0, 0, True)
    (entry,) = env.raw("weather").state().files.values()
    assert (entry.rows, entry.partition["interval_start"]) == (0, "2013-12-31")
    assert not land(env, "weather", Interval.day("2013-12-31"))[0].changed


def test_the_impossible_wind_of_february_goes_to_quarantine_again_and_again(env: Environment) -> None:
    for changed in (True, False):
        (report,) = land(env, "weather", Interval.day("2013-02-12"))
        assert (report.rows, report.rejected, report.changed) == (71, 1, changed)
    (row,) = read(env.rejected("weather"))
    assert row["reason"] == "wind_speed 1048.36058 is above the maximum 200 mph"
    assert (row["origin"], row["wind_speed"], row["interval_start"]) == ("EWR", 1048.36058, "2013-02-12")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"carrier": None}, "carrier is null"),
        ({"flight": None, "dest": None}, "flight is null; dest is null"),
        ({"sched_dep_time": None}, "scheduled_at is null"),
        ({"dep_delay": -200}, "dep_delay -200.0 is below the minimum -180 minutes"),
        ({"distance": "inf"}, "distance inf is no finite number"),
        ({"distance": "nan"}, "distance nan is no finite number"),
        ({"sched_dep_time": 2460}, "sched_dep_time 2460 is no clock time; scheduled_at is null"),
        ({"arr_time": 2575}, "arr_time 2575 is no clock time"),
        ({"dep_delay": None}, "dep_time is 517 but dep_delay is None"),
        ({"dep_time": None}, "dep_time is None but dep_delay is 2.0; arr_time is 830 but dep_time is null"),
        ({"dest": "XYZ"}, "the time zone of dest XYZ is not known"),
    ],
)
def test_an_unfit_flight_is_quarantined_with_its_reason(
    env: Environment, flights: MakeFlights, change: dict[str, Any], reason: str
) -> None:
    assert lands(env, flights({"flight": 7}, change)) == (1, 1)
    (found,) = reasons(env, "flights")
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"time_hour": None}, "observed_at is null"),
        ({"origin": None, "humid": 101}, "origin is null; humid 101.0 is above the maximum 100 %"),
        ({"time_hour": "2013-01-02T10:30:00Z"}, "observed_at 2013-01-02 10:30:00"),
    ],
)
def test_an_unfit_observation_is_quarantined_with_its_reason(
    env: Environment, weather: MakeWeather, change: dict[str, Any], reason: str
) -> None:
    assert lands(env, weather({"origin": "JFK"}, change)) == (1, 1)
    (found,) = reasons(env, "weather")
    assert found.startswith(reason)


def test_what_may_be_null_lands(env: Environment, flights: MakeFlights) -> None:
    cancelled = dict.fromkeys(("tailnum", "dep_time", "dep_delay", "arr_time", "arr_delay"))
    diverted = {"flight": 7, "arr_delay": None}
    assert lands(env, flights(cancelled, diverted)) == (2, 0)
    assert {(row["flight"], row["cancelled"], row["arrived_at"]) for row in read(env.raw("flights"))} == {
        (1545, True, None),
        (7, False, None),
    }


def test_facts_that_become_known_too_late_are_quarantined(env: Environment, flights: MakeFlights) -> None:
    # Scheduled 23:59Z, departed 23:58Z two days later: 17:59 in Houston is the last minute of the second day after.
    delays = {"dep_delay": 2879, "arr_delay": 1440}
    in_time = {"flight": 1, "sched_dep_time": 1859, "dep_time": 1858, "arr_time": 1759, **delays}
    late = in_time | {"flight": 2, "arr_time": 1800}
    assert lands(env, flights(in_time, late)) == (1, 1)
    assert reasons(env, "flights") == [
        "arrived_at 2013-01-05 00:00:00+00 is more than 2 days after its day: no feature table would see it"
    ]


def test_of_rows_with_one_key_the_first_lands(env: Environment, flights: MakeFlights) -> None:
    source = flights({"tailnum": "N1"}, {"tailnum": "N2"}, {"tailnum": "N1"}, {"flight": 7})
    assert lands(env, source) == (2, 2)
    assert [row["tailnum"] for row in read(env.raw("flights")) if row["flight"] == 1545] == ["N1"]
    assert set(reasons(env, "flights")) == {"duplicate of key (UA, 1545, EWR, 2013-01-02 10:15:00+00)"}
    assert not land_day(env, source, DAY).changed


def test_an_unfit_row_does_not_take_the_place_of_a_fit_one_with_its_key(env: Environment, flights: MakeFlights) -> None:
    assert lands(env, flights({"distance": -1}, {"distance": 1400})) == (1, 1)
    assert reasons(env, "flights") == ["distance -1.0 is below the minimum 1 miles"]


def test_the_order_of_the_file_is_not_content(env: Environment, flights: MakeFlights) -> None:
    land_day(env, flights({"flight": 1}, {"flight": 2}), DAY)
    assert not land_day(env, flights({"flight": 2}, {"flight": 1}), DAY).changed


def test_a_correction_replaces_the_interval(env: Environment, flights: MakeFlights) -> None:
    first = land_day(env, flights({"dep_delay": 2}), DAY)
    second = land_day(env, flights({"dep_delay": 3}), DAY)
    assert (second.changed, second.version, first.build != second.build) == (True, 1, True)
    assert [row["dep_delay"] for row in read(env.raw("flights"))] == [3.0]


def test_rejects_that_are_cured_leave_quarantine(env: Environment, flights: MakeFlights) -> None:
    land_day(env, flights({"flight": 1}, {"carrier": None}), DAY)
    assert lands(env, flights({"flight": 1}, {"carrier": "UA"})) == (2, 0)


def test_of_two_landings_that_overlap_quarantine_is_never_older_than_raw(
    env: Environment, flights: MakeFlights, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_day(env, flights({"flight": 7}), Interval.day("2013-01-01"))
    broken, unfit = flights({"flight": 1}, {"carrier": None}), _Judged.unfit

    def overtaken(judged: _Judged, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        monkeypatch.setattr(_Judged, "unfit", unfit)
        assert lands(env, flights({"flight": 1}, {"carrier": "UA"})) == (
            2,
            0,
        )  # the other one, after the file was mended
        return unfit(judged, schema)

    monkeypatch.setattr(_Judged, "unfit", overtaken)
    with pytest.raises(TransportError, match="another landing committed"):
        land_day(env, broken, DAY)
    assert (len(read(env.raw("flights"))), reasons(env, "flights")) == (2, [])


@pytest.mark.parametrize("rest", [[], [{"carrier": None}]])
def test_a_landing_never_shrinks_an_interval_unless_told(
    env: Environment, flights: MakeFlights, rest: list[dict[str, Any]]
) -> None:
    land_day(env, flights({"flight": 1}, {"flight": 2}), DAY)
    fewer = flights({"flight": 1}, *rest)
    with pytest.raises(DataError, match="never shrinks"):
        land_day(env, fewer, DAY)
    assert (len(read(env.raw("flights"))), read(env.rejected("flights"))) == (2, [])
    assert land_day(env, fewer, DAY, allow_shrink=True).rows == 1


def broken_columns(make: MakeFlights) -> Flights:
    return make({}, columns=[*(name for name in FLIGHT_COLUMNS if name not in ("origin", "dest")), "gate"])


def retyped(make: MakeFlights) -> Flights:
    return make({"dep_delay": "soon", "flight": "UA1545"})


def without_date(make: MakeFlights) -> Flights:
    return make({"month": None})


def cut_off(make: MakeFlights) -> Flights:
    source = make({})
    path = Path(str(source.folder)) / "flights.csv.zip"
    path.write_bytes(path.read_bytes()[:-30])
    return source


def empty(make: MakeFlights) -> Flights:
    return make()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (broken_columns, "missing: origin, dest; unexpected: gate"),
        (retyped, r"(?s)flight: expected int32, found 'UA1545'.*dep_delay: expected double, found 'soon'"),
        (without_date, "found 2013-null-02 in 1 rows"),
        (cut_off, r"flights.csv.zip: cut off"),
        (empty, "expected rows below the header, found none"),
    ],
)
def test_a_broken_file_lands_nothing(
    env: Environment, flights: MakeFlights, damage: Callable[[MakeFlights], Flights], said: str
) -> None:
    land_day(env, flights({}), DAY)
    before = (read(env.raw("flights")), read(env.rejected("flights")))
    with pytest.raises(DataError, match=said):
        land_day(env, damage(flights), DAY)
    assert (read(env.raw("flights")), read(env.rejected("flights"))) == before
    assert env.raw("flights").state().version == 0


def test_a_broken_file_creates_no_table(env: Environment, flights: MakeFlights) -> None:
    with pytest.raises(DataError, match="Nothing was landed"):
        land_day(env, broken_columns(flights), DAY)
    assert not env.raw("flights").exists()
    assert not env.rejected("flights").exists()


def test_tables_have_the_types_of_the_contract_and_their_partitions(env: Environment) -> None:
    land(env, "weather", Interval.day("2013-01-01"))
    schema = env.raw("weather").state().schema
    assert schema.field("observed_at").type == pa.timestamp("us", tz="UTC")
    assert schema.names == [
        *(column.name for column in sources()["weather"].contract.columns),
        "interval_start",
        "build",
    ]
