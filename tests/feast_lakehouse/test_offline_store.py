from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, RequestSource
from feast.data_format import DeltaFormat, ParquetFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String
from feast.value_type import ValueType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, TableMissing
from feast_lakehouse.offline_store import LakehouseOfflineStore, LakehouseOfflineStoreConfig
from feast_lakehouse.point_in_time import VERSIONS_KEY
from feast_lakehouse.tables import write_interval

DAY = datetime(2013, 1, 1, tzinfo=UTC)
AIRCRAFT = Entity(name="aircraft", join_keys=["tailnum"], value_type=ValueType.STRING)
AIRPORT = Entity(name="airport", join_keys=["origin"], value_type=ValueType.STRING)
AIRCRAFT_SCHEMA = pa.schema(
    [
        pa.field("tailnum", pa.string(), nullable=False),
        pa.field("event_timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("flights", pa.int64()),
        pa.field("mean_delay", pa.float64()),
    ]
)
WEATHER_SCHEMA = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),
        pa.field("event_timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("temp", pa.float64()),
    ]
)


def at(days: float) -> datetime:
    """Midnight UTC that many days after 2013-01-01."""
    return DAY + timedelta(days=days)


def publish_rows(ref: TableRef, schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows as intervals of one day: a row at 00:00 belongs to the day that ends then."""
    ordered = sorted(rows, key=lambda row: row[1])
    for day, group in itertools.groupby(ordered, key=lambda row: (row[1] - timedelta(microseconds=1)).date()):
        batch = pa.RecordBatch.from_pylist([dict(zip(schema.names, row, strict=True)) for row in group], schema=schema)
        write_interval(ref, str(day), [batch], schema=schema)


def source(name: str, path: str, **options: Any) -> FileSource:
    given: dict[str, Any] = {"file_format": DeltaFormat(), "timestamp_field": "event_timestamp", **options}
    return FileSource(name=name, path=path, **given)


def aircraft_view(
    ttl: timedelta | None = timedelta(days=3), path: str = "lake://on_prem/features/aircraft_daily"
) -> FeatureView:
    schema = [
        Field(name="tailnum", dtype=String),
        Field(name="flights", dtype=Int64),
        Field(name="mean_delay", dtype=Float64),
    ]
    return FeatureView(
        name="aircraft_daily", entities=[AIRCRAFT], schema=schema, ttl=ttl, source=source("aircraft_daily", path)
    )


WEATHER_VIEW = FeatureView(
    name="weather",
    entities=[AIRPORT],
    schema=[Field(name="origin", dtype=String), Field(name="temp", dtype=Float64)],
    ttl=timedelta(hours=6),
    source=source("weather", "lake://cloud/features/weather"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    aircraft = [
        ("N1", at(1), 1, 10.0),
        ("N1", at(2), 2, None),
        ("N1", at(4), 4, 40.0),
        ("N2", at(2), 7, float("nan")),
        ("Nü", at(1), 9, 1.0),
    ]
    publish_rows(TableRef(f"file://{home}/on_prem/features/aircraft_daily"), AIRCRAFT_SCHEMA, aircraft)
    weather = [(origin, at(1 + hour / 24), hour + len(origin)) for origin in ("JFK", "EWR2") for hour in range(5)]
    publish_rows(TableRef(f"file://{home}/cloud/features/weather"), WEATHER_SCHEMA, weather)
    return home


def feature_store(home: Path, folder: Path, **offline: Any) -> FeatureStore:
    config = RepoConfig(
        project="my_feast",
        provider="local",
        entity_key_serialization_version=3,
        registry={
            "registry_store_type": "feast_lakehouse.registry_store.LocalRegistryStore",
            "path": str(folder / "registry.db"),
        },
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={
            "type": "feast_lakehouse.offline_store.LakehouseOfflineStore",
            "lakes": {"on_prem": f"file://{home}/on_prem", "cloud": f"file://{home}/cloud"},
            **offline,
        },
    )
    return FeatureStore(config=config)


@pytest.fixture
def store(home: Path, tmp_path: Path) -> FeatureStore:
    store = feature_store(home, tmp_path)
    store.apply([AIRCRAFT, AIRPORT, aircraft_view(), WEATHER_VIEW])
    return store


FLIGHTS = ["aircraft_daily:flights", "aircraft_daily:mean_delay"]


def retrieve(
    store: FeatureStore, rows: Sequence[tuple[Any, Any]], features: list[str] = FLIGHTS
) -> list[dict[str, Any]]:
    frame = pd.DataFrame(rows, columns=["tailnum", "event_timestamp"])
    found: list[dict[str, Any]] = store.get_historical_features(frame, features).to_arrow().to_pylist()
    return found


# --------------------------------------------------------------------------------------------- the join by example


def test_both_lakes_in_one_join(store: FeatureStore) -> None:
    frame = pd.DataFrame(
        {
            "label": [0, 1, 2, 3],
            "origin": ["JFK", "EWR2", "JFK", "LGA"],
            "event_timestamp": [at(1.1), at(2.2), at(1), at(1.1)],
            "tailnum": ["N1", "N1", "N2", "Nü"],
        }
    )
    result = store.get_historical_features(frame, [*FLIGHTS, "weather:temp"]).to_arrow()
    assert result.column_names == ["label", "origin", "event_timestamp", "tailnum", "flights", "mean_delay", "temp"]
    assert result.column("label").to_pylist() == [0, 1, 2, 3]
    assert result.column("flights").to_pylist() == [1, 2, None, 9]
    assert result.column("temp").to_pylist() == [5.0, None, 3.0, None]
    assert result.schema.field("flights").type == pa.int64()
    assert result.schema.field("event_timestamp").type.tz == "UTC"


def test_the_newest_row_at_or_before_the_time_within_ttl_counts(store: FeatureStore) -> None:
    tick = timedelta(microseconds=1)
    moments = [at(1) - tick, at(1), at(2) - tick, at(2), at(4) - tick, at(4), at(7), at(7) + tick, at(300)]
    found = [row["flights"] for row in retrieve(store, [("N1", moment) for moment in moments])]
    assert found == [None, 1, 1, 2, 2, 4, 4, None, None]
    # A row out of ttl does not fall back to an older one, and a null in the newest row stays null.
    assert [row["mean_delay"] for row in retrieve(store, [("N1", at(3))])] == [None]


@pytest.mark.parametrize("ttl", [None, timedelta(0)])
def test_no_ttl_is_no_limit(home: Path, tmp_path: Path, ttl: timedelta | None) -> None:
    store = feature_store(home, tmp_path)
    store.apply([AIRCRAFT, aircraft_view(ttl)])
    assert [row["flights"] for row in retrieve(store, [("N1", at(3000)), ("N1", at(0.5))])] == [4, None]


def test_rows_keep_their_order_and_their_duplicates(store: FeatureStore) -> None:
    rows = [("N2", at(3)), ("N1", at(2)), ("N2", at(3)), ("none", at(3)), ("N1", at(1)), ("N1", at(2))] * 50
    found = retrieve(store, rows)
    assert [(row["tailnum"], row["event_timestamp"]) for row in found] == rows
    assert [row["flights"] for row in found] == [7, 2, 7, None, 1, 2] * 50


def test_null_keys_and_null_times_keep_their_rows(store: FeatureStore) -> None:
    found = retrieve(store, [(None, at(3)), ("N1", pd.NaT), (np.nan, at(3)), ("N1", at(2))])
    assert [row["flights"] for row in found] == [None, None, None, 2]
    assert retrieve(store, [("N1", pd.NaT)])[0]["event_timestamp"] is None


def test_no_rows(store: FeatureStore) -> None:
    frame = pd.DataFrame(
        {"tailnum": pd.Series([], dtype=str), "event_timestamp": pd.Series([], dtype="datetime64[ns, UTC]")}
    )
    result = store.get_historical_features(frame, FLIGHTS).to_df()
    assert list(result.columns) == ["tailnum", "event_timestamp", "flights", "mean_delay"]
    assert len(result) == 0


def test_times_naive_other_zones_text_and_mixed(store: FeatureStore) -> None:
    new_york = datetime(2013, 1, 1, 19, tzinfo=ZoneInfo("America/New_York"))  # = 2013-01-02 00:00 UTC
    for given_time in (
        new_york,
        at(1).replace(tzinfo=None),
        at(1),
        "2013-01-02",
        "2013-01-01T19:00:00-05:00",
        np.datetime64(at(1).replace(tzinfo=None)),
    ):
        frame = pd.DataFrame({"tailnum": ["N1"], "event_timestamp": [given_time]})
        result = store.get_historical_features(frame, FLIGHTS).to_arrow().to_pylist()
        assert result == [{"tailnum": "N1", "event_timestamp": at(1), "flights": 1, "mean_delay": 10.0}], given_time
    mixed = pd.DataFrame({"tailnum": ["N1", "N1"], "event_timestamp": pd.Series([new_york, at(2)], dtype=object)})
    assert store.get_historical_features(mixed, FLIGHTS).to_df()["flights"].tolist() == [1, 2]
    with pytest.raises(DataError, match="times in 'event_timestamp'"):
        retrieve(store, [("N1", "yesterday")])


def test_a_time_column_of_another_name(store: FeatureStore) -> None:
    frame = pd.DataFrame({"tailnum": ["N1"], "departure": pd.to_datetime([at(2)])})
    assert store.get_historical_features(frame, FLIGHTS).to_df()["flights"].tolist() == [2]


def test_entity_columns_pass_through_unchanged(store: FeatureStore) -> None:
    frame = pd.DataFrame(
        {
            "tailnum": pd.Categorical(["N1", "N2"]),
            "event_timestamp": [at(2), at(2)],
            "vector": [[1.5, 2.5], [3.5]],
            "text": ["a'b", None],
            "weird name; --": [True, False],
            "row": [5, 6],
            "t": [7, 8],
        },
        index=[10, 3],
    )
    result = store.get_historical_features(frame, FLIGHTS).to_df()
    assert result["vector"].map(list).tolist() == [[1.5, 2.5], [3.5]]
    assert result["text"].tolist() == ["a'b", None]
    assert result["weird name; --"].tolist() == [True, False]
    assert result[["row", "t", "flights"]].to_numpy().tolist() == [[5, 7, 2], [6, 8, 7]]
    assert list(result.index) == [0, 1]


def test_nan_and_null_features_stay_apart(store: FeatureStore) -> None:
    found = retrieve(store, [("N2", at(3)), ("N1", at(3))])
    assert np.isnan(found[0]["mean_delay"])
    assert found[1]["mean_delay"] is None


# ------------------------------------------------------------------------------------------ what Feast puts on top


def test_a_feature_service_with_full_names_and_a_mapped_key(store: FeatureStore) -> None:
    mapped = WEATHER_VIEW.with_name("destination_weather").with_join_key_map({"origin": "dest"})
    here = WEATHER_VIEW.with_name("origin_weather")
    store.apply([FeatureService(name="service", features=[aircraft_view()[["flights"]], here, mapped])])
    frame = pd.DataFrame({"tailnum": ["N1"], "origin": ["JFK"], "dest": ["EWR2"], "event_timestamp": [at(1.1)]})
    job = store.get_historical_features(frame, store.get_feature_service("service"), full_feature_names=True)
    row = job.to_arrow().to_pylist()[0]
    assert row["aircraft_daily__flights"] == 1
    assert (row["origin_weather__temp"], row["destination_weather__temp"]) == (5.0, 6.0)
    assert "aircraft_daily__mean_delay" not in row


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
def test_on_demand_views(store: FeatureStore) -> None:
    request = RequestSource(name="request", schema=[Field(name="extra", dtype=Int64)])

    @on_demand_feature_view(sources=[aircraft_view(), request], schema=[Field(name="total", dtype=Int64)])
    def totals(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"total": inputs["flights"] + inputs["extra"]})

    store.apply([totals])
    frame = pd.DataFrame({"tailnum": ["N1", "N2"], "event_timestamp": [at(2), at(2)], "extra": [10, 20]})
    result = store.get_historical_features(frame, ["totals:total", "aircraft_daily:flights"]).to_df()
    assert result["total"].tolist() == [12, 27]
    assert result["flights"].tolist() == [2, 7]


def test_a_view_without_entities(home: Path, tmp_path: Path) -> None:
    rows = [("all", at(1), 1.0), ("all", at(2), 2.0)]
    publish_rows(TableRef(f"{tmp_path}/world"), WEATHER_SCHEMA, rows)
    world = FeatureView(
        name="world", entities=[], schema=[Field(name="temp", dtype=Float64)], source=source("world", f"{tmp_path}/world"),
        ttl=timedelta(days=1),
    )  # fmt: skip
    store = feature_store(home, tmp_path)
    store.apply([world])
    frame = pd.DataFrame({"event_timestamp": [at(2.5), at(0), at(1), at(9)]})
    assert store.get_historical_features(frame, ["world:temp"]).to_df()["temp"].replace({np.nan: None}).tolist() == [
        2.0,
        None,
        1.0,
        None,
    ]


def test_the_versions_are_fixed_and_stated(home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ref = TableRef(f"file://{tmp_path}/moving")
    publish_rows(ref, AIRCRAFT_SCHEMA, [("N1", at(1), 1, 1.0)])
    store = feature_store(home, tmp_path)
    store.apply([AIRCRAFT, aircraft_view(path=ref.uri)])
    frame = pd.DataFrame({"tailnum": ["N1"], "event_timestamp": [at(3)]})
    with caplog.at_level(logging.INFO, logger="feast_lakehouse"):
        job = store.get_historical_features(frame, FLIGHTS)
    publish_rows(ref, AIRCRAFT_SCHEMA, [("N1", at(2), 2, 2.0)])
    result = job.to_arrow()
    assert result.column("flights").to_pylist() == [1]
    assert job.metadata.table_versions == {"aircraft_daily": 0}
    assert json.loads(result.schema.metadata[VERSIONS_KEY]) == {"aircraft_daily": 0}
    assert "Training set of 1 rows from table versions {'aircraft_daily': 0}" in caplog.text
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == (at(3), at(3))
    assert job.metadata.keys == ["tailnum"]
    assert "ASOF LEFT JOIN" in job.to_sql()
    assert store.get_historical_features(frame, FLIGHTS).to_df()["flights"].tolist() == [2]


def test_a_foreign_table_with_ties_renamed_columns_and_naive_times(home: Path, tmp_path: Path) -> None:
    uri = str(tmp_path / "foreign")
    moments = [datetime(2013, 1, 1, tzinfo=UTC).replace(tzinfo=None)] * 3 + [
        datetime(2013, 1, 5, tzinfo=UTC).replace(tzinfo=None)
    ]
    table = pa.table(
        {
            "tail id": [1, 1, 1, 2],
            "event_timestamp": pa.array(moments, pa.timestamp("us")),
            "made": pa.array([2, None, 1, 1], pa.timestamp("us", tz="UTC")),
            "n": [20, 0, 10, 5],
        }
    )
    write_deltalake(uri, table)
    plane = Entity(name="plane", join_keys=["tail id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="planes",
        entities=[plane],
        schema=[Field(name="tail id", dtype=Int64), Field(name="flights", dtype=Int64)],
        source=source("planes", "foreign", created_timestamp_column="made", field_mapping={"n": "flights"}),
        ttl=timedelta(0),
    )
    store = feature_store(home, tmp_path)
    store.config.repo_path = tmp_path
    store.apply([plane, view])
    frame = pd.DataFrame({"tail id": [1.0, None, 2.0], "event_timestamp": [at(1), at(1), at(5)]})
    assert store.get_historical_features(frame, ["planes:flights"]).to_arrow().column("flights").to_pylist() == [
        20,
        None,
        5,
    ]
    frame = pd.DataFrame({"tail id": ["x"], "event_timestamp": [at(1)]})
    with pytest.raises(DataError, match="planes: key 'tail id' of the entity rows cannot be read as int64"):
        store.get_historical_features(frame, ["planes:flights"]).to_df()


# ----------------------------------------------------------------------------------------------- against an oracle

ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8)), unique=True, max_size=12).map(
    lambda pairs: [(key, at(day / 2), index, float(index)) for index, (key, day) in enumerate(pairs)]
)
ASKED = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.integers(-1, 20)), max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, asked=ASKED, ttl=st.sampled_from([None, 0, 1, 3]))
def test_any_join_equals_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[Any, ...]],
    asked: list[tuple[str | None, int]],
    ttl: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    publish_rows(TableRef(f"{folder}/t"), AIRCRAFT_SCHEMA, rows or [("z", at(0), 0, 0.0)])
    limit = None if ttl is None else timedelta(days=ttl / 2)
    view = aircraft_view(limit, path=f"{folder}/t")
    store = feature_store(folder, folder)
    view.entity_columns = [Field(name="tailnum", dtype=String)]
    frame = pd.DataFrame(
        {
            "tailnum": pd.Series([a[0] for a in asked], dtype=object),
            "event_timestamp": pd.Series([at(a[1] / 4) for a in asked], dtype="datetime64[us, UTC]"),
        }
    )
    job = LakehouseOfflineStore.get_historical_features(
        store.config, [view], ["aircraft_daily:flights"], frame, store.registry, "my_feast"
    )
    expected = []
    for key, quarter in asked:
        moment = at(quarter / 4)
        known = [row for row in rows if row[0] == key and row[1] <= moment and (not limit or row[1] >= moment - limit)]
        expected.append(max(known, key=lambda row: row[1])[2] if known else None)
    assert job.to_arrow().column("flights").to_pylist() == expected


# ---------------------------------------------------------------------------------------------------- pulling rows


def pull(store: FeatureStore, first: datetime | None, last: datetime | None, *, latest: bool) -> list[tuple[Any, ...]]:
    method = (
        LakehouseOfflineStore.pull_latest_from_table_or_query
        if latest
        else LakehouseOfflineStore.pull_all_from_table_or_query
    )
    job = method(
        config=store.config,
        data_source=aircraft_view().batch_source,
        join_key_columns=["tailnum"],
        feature_name_columns=["flights"],
        timestamp_field="event_timestamp",
        created_timestamp_column=None,
        start_date=first,
        end_date=last,
    )
    assert job.metadata.table_versions == {"aircraft_daily": 2}
    return sorted(tuple(row.values()) for row in job.to_arrow().to_pylist())


def test_pulling_all_rows_and_the_latest(store: FeatureStore) -> None:
    everything = [("N1", 1, at(1)), ("N1", 2, at(2)), ("N1", 4, at(4)), ("N2", 7, at(2)), ("Nü", 9, at(1))]
    assert pull(store, None, None, latest=False) == everything
    assert pull(store, at(2), at(4).replace(tzinfo=None), latest=False) == everything[1:4]
    assert pull(store, at(0), at(3), latest=True) == [("N1", 2, at(2)), ("N2", 7, at(2)), ("Nü", 9, at(1))]


def test_feast_materializes_through_it(store: FeatureStore) -> None:
    """Stock Feast with any engine can use this store too."""
    store.materialize(at(0), at(5), ["aircraft_daily"])
    online = store.get_online_features(FLIGHTS, [{"tailnum": "N1"}, {"tailnum": "gone"}]).to_dict()
    assert online["flights"] == [4, None]


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.filterwarnings("ignore:Saving dataset is an experimental feature:RuntimeWarning")
def test_what_is_refused_says_so(store: FeatureStore, tmp_path: Path) -> None:
    frame = pd.DataFrame({"tailnum": ["N1"], "event_timestamp": [at(2)]})
    with pytest.raises(DataError, match="Expected entity rows as a pandas DataFrame, found str"):
        store.get_historical_features("SELECT 1", FLIGHTS)
    with pytest.raises(DataError, match=r"found NoneType.*retrieval by dates alone"):
        store.get_historical_features(features=FLIGHTS, start_date=at(0), end_date=at(1))
    with pytest.raises(DataError, match=r"aircraft_daily needs \['tailnum'\]"):
        store.get_historical_features(frame.rename(columns={"tailnum": "x"}), FLIGHTS)
    with pytest.raises(DataError, match=r"\['flights'\] are both in the entity rows and features"):
        store.get_historical_features(frame.assign(flights=1), FLIGHTS)
    with pytest.raises(NotImplementedError, match="filter_by_created_timestamp"):
        store.get_historical_features(frame, FLIGHTS, filter_by_created_timestamp=True)
    job = store.get_historical_features(frame, FLIGHTS)
    with pytest.raises(DataError, match=r"Saved datasets .SavedDatasetFileStorage. cannot be written"):
        store.create_saved_dataset(job, "set", SavedDatasetFileStorage(path=str(tmp_path / "s.parquet")))
    with pytest.raises(DataError, match="1 rows were pushed to the offline store"):
        store.write_to_offline_store("aircraft_daily", frame.assign(flights=1, mean_delay=1.0), reorder_columns=True)
    with pytest.raises(DataError, match="cannot be logged"):
        LakehouseOfflineStore.write_logged_features(store.config, pa.table({}), None, None, store.registry)


def test_missing_tables_and_columns_are_named(home: Path, tmp_path: Path) -> None:
    store = feature_store(home, tmp_path)
    frame = pd.DataFrame({"tailnum": ["N1"], "event_timestamp": [at(2)]})
    store.apply([AIRCRAFT, aircraft_view(path="lake://on_prem/features/not_yet")])
    with pytest.raises(TableMissing, match="features/not_yet"):
        store.get_historical_features(frame, FLIGHTS)
    wider = aircraft_view()
    wider.features.append(Field(name="seats", dtype=Int64))
    store.apply([wider])
    with pytest.raises(DataError, match=r"has no column 'seats' at version 2.*'mean_delay'"):
        store.get_historical_features(frame, ["aircraft_daily:seats"]).to_df()


def test_sources_are_validated_without_needing_a_table(store: FeatureStore, home: Path) -> None:
    validate = LakehouseOfflineStore().validate_data_source
    validate(store.config, source("later", "lake://on_prem/features/not_yet"))
    validate(store.config, aircraft_view().batch_source)
    with pytest.raises(DataError, match="Unknown lake 'moon'"):
        validate(store.config, source("x", "lake://moon/x"))
    with pytest.raises(DataError, match="has no column 'when'"):
        validate(store.config, source("x", "lake://on_prem/features/aircraft_daily", timestamp_field="when"))
    with pytest.raises(DataError, match="must be a timestamp, found string"):
        validate(store.config, source("x", "lake://on_prem/features/aircraft_daily", timestamp_field="tailnum"))
    with pytest.raises(DataError, match=r"expected file_format=DeltaFormat\(\)"):
        validate(store.config, source("x", f"{home}/x.parquet", file_format=ParquetFormat()))
    with pytest.raises(DataError, match="found RequestSource"):
        validate(store.config, RequestSource(name="r", schema=[Field(name="x", dtype=Int64)]))


def test_columns_for_inference(store: FeatureStore) -> None:
    columns = LakehouseOfflineStore().get_table_column_names_and_types_from_data_source(
        store.config, aircraft_view().batch_source
    )
    assert dict(columns) == {
        "tailnum": "string", "event_timestamp": "timestamp[us, tz=UTC]", "flights": "int64", "mean_delay": "double"
    }  # fmt: skip


def test_the_configuration_refuses_typing_errors_and_hides_secrets() -> None:
    with pytest.raises(ValueError, match="lake_roots"):
        LakehouseOfflineStoreConfig(lakes={}, lake_roots={})
    shown = LakehouseOfflineStoreConfig(lakes={"cloud": "x"}, storage_options={"cloud": {"key": "c2VjcmV0"}})
    assert "c2VjcmV0" not in repr(shown) + str(shown)


def test_bounded_memory_and_a_timeout(home: Path, tmp_path: Path) -> None:
    store = feature_store(home, tmp_path, memory_limit="200MB", threads=1)
    store.apply([AIRCRAFT, aircraft_view()])
    assert [row["flights"] for row in retrieve(store, [("N1", at(2))])] == [2]
    rows = pd.DataFrame({"tailnum": ["N1"] * 300_000, "event_timestamp": [at(2)] * 300_000})
    with pytest.raises(TimeoutError, match="did not end within"):
        store.get_historical_features(rows, FLIGHTS).to_arrow(timeout=0.001)  # type: ignore[arg-type]


def test_deltalake_reads_what_we_wrote(home: Path) -> None:
    assert DeltaTable(f"{home}/on_prem/features/aircraft_daily").to_pyarrow_table().num_rows == 5
