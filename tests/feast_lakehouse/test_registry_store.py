from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, Project
from feast.cli.cli import cli
from feast.data_format import DeltaFormat
from feast.errors import EntityNotFoundException, FeatureViewNotFoundException
from feast.infra.registry.registry import Registry
from feast.infra.registry.registry import get_registry_store_class_from_type as registry_store_class
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig
from feast.types import Decimal, Int64, String

from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.merging_registry import MergingRegistryStore
from feast_lakehouse.registry_store import LocalRegistryStore
from feature_pipelines.embedded.machine import free_port
from tests.feast_lakehouse.registry_places import PROJECT, Place, blob, local

FORK = multiprocessing.get_context("fork")
AIRCRAFT = Entity(name="aircraft", join_keys=["tailnum"], value_type=String.to_value_type())


def registry(place: Place) -> Registry:
    return place.registry()


def view(name: str, *, features: tuple[str, ...] = ("flights",), days: int = 1) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path=f"lake://on_prem/features/{name}",
        file_format=DeltaFormat(),
        timestamp_field="event_timestamp",
    )
    schema = [Field(name="tailnum", dtype=String), *(Field(name=feature, dtype=Int64) for feature in features)]
    return FeatureView(name=name, entities=[AIRCRAFT], schema=schema, ttl=timedelta(days=days), source=source)


def store_of(place: Place) -> MergingRegistryStore:
    store = registry_store_class(place.config["registry_store_type"])
    made: MergingRegistryStore = store(RegistryConfig(**place.config), place.folder)
    return made


def names(place: Place) -> list[str]:
    return sorted(found.name for found in registry(place).list_feature_views(PROJECT))


@pytest.fixture(params=["local", "blob"])
def empty(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Nothing is there yet."""
    if request.param == "local":
        return local(tmp_path)
    return blob(tmp_path, request.getfixturevalue("azurite_account"))


@pytest.fixture
def place(empty: Place) -> Place:
    """An entity has been applied."""
    registry(empty).apply_entity(AIRCRAFT, PROJECT)
    return empty


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A registry's file with an entity."""
    registry(local(tmp_path)).apply_entity(AIRCRAFT, PROJECT)
    return tmp_path / "registry.db"


# ------------------------------------------------------------------------------------------ two writers, step by step


def test_two_stale_writers_lose_nothing(place: Place) -> None:
    left, right = registry(place), registry(place)
    left.apply_feature_view(view("left"), PROJECT)
    right.apply_feature_view(view("right"), PROJECT)
    left.apply_feature_view(view("left_again"), PROJECT)
    assert names(place) == ["left", "left_again", "right"]
    assert sorted(v.name for v in left.list_feature_views(PROJECT, allow_cache=True)) == ["left", "left_again", "right"]


def test_first_writers_of_a_new_registry_share_it(empty: Place) -> None:
    left, right = registry(empty), registry(empty)
    right.apply_feature_view(view("right"), PROJECT)
    left.apply_feature_view(view("left"), PROJECT)
    assert names(empty) == ["left", "right"]
    assert [project.name for project in registry(empty).list_projects()] == [PROJECT]


def test_a_deleted_view_does_not_come_back_with_a_stale_writer(place: Place) -> None:
    registry(place).apply_feature_view(view("old"), PROJECT)
    stale = registry(place)
    registry(place).delete_feature_view("old", PROJECT)
    stale.apply_feature_view(view("other"), PROJECT)
    assert names(place) == ["other"]


def test_a_late_materialization_does_not_bring_a_deleted_view_back(place: Place) -> None:
    registry(place).apply_feature_view(view("old"), PROJECT)
    stale = registry(place)
    registry(place).delete_feature_view("old", PROJECT)
    found = stale.get_feature_view("old", PROJECT, allow_cache=True)
    stale.apply_materialization(found, PROJECT, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC))
    assert names(place) == []


def test_a_delete_wins_over_a_change_it_did_not_see(place: Place) -> None:
    registry(place).apply_feature_view(view("old"), PROJECT)
    stale = registry(place)
    registry(place).apply_feature_view(view("old", features=("flights", "more")), PROJECT)
    stale.delete_feature_view("old", PROJECT)
    assert names(place) == []


def test_an_apply_after_a_delete_it_did_not_see_is_there(place: Place) -> None:
    registry(place).apply_feature_view(view("old"), PROJECT)
    stale = registry(place)
    registry(place).delete_feature_view("old", PROJECT)
    stale.apply_feature_view(view("old", features=("flights", "more")), PROJECT)
    assert names(place) == ["old"]


def test_of_two_changes_of_one_view_the_later_acknowledged_wins(place: Place) -> None:
    registry(place).apply_feature_view(view("one"), PROJECT)
    left, right = registry(place), registry(place)
    left.apply_feature_view(view("one", features=("flights", "left"), days=7), PROJECT)
    right.apply_feature_view(view("one", features=("flights", "right")), PROJECT)
    found = registry(place).get_feature_view("one", PROJECT)
    assert [feature.name for feature in found.features] == ["flights", "right"]
    assert found.ttl == timedelta(days=1)  # a definition is never mixed of two


def test_materialization_intervals_of_both_writers_stay(place: Place) -> None:
    registry(place).apply_feature_view(view("one"), PROJECT)
    writers = [registry(place) for _ in range(3)]
    for day, writer in enumerate(writers, start=1):
        found = writer.get_feature_view("one", PROJECT, allow_cache=True)
        start = datetime(2013, 1, day, tzinfo=UTC)
        writer.apply_materialization(found, PROJECT, start, start + timedelta(days=1))
    changed = registry(place)
    changed.apply_feature_view(view("one", features=("flights", "more")), PROJECT)
    found = registry(place).get_feature_view("one", PROJECT)
    assert [interval[0].day for interval in found.materialization_intervals] == [1, 2, 3]
    assert [feature.name for feature in found.features] == ["flights", "more"]


def test_a_definition_and_a_materialization_at_the_same_time_both_stay(place: Place) -> None:
    registry(place).apply_feature_view(view("one"), PROJECT)
    applier, engine = registry(place), registry(place)
    applier.apply_feature_view(view("one", features=("flights", "more")), PROJECT)
    found = engine.get_feature_view("one", PROJECT, allow_cache=True)
    engine.apply_materialization(found, PROJECT, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC))
    after = registry(place).get_feature_view("one", PROJECT)
    assert [feature.name for feature in after.features] == ["flights", "more"]
    assert len(after.materialization_intervals) == 1


def test_an_apply_survives_a_refresh_before_its_commit(place: Place) -> None:
    applier = registry(place)
    applier.apply_feature_view(view("first"), PROJECT, commit=False)
    registry(place).apply_feature_view(view("other"), PROJECT)
    applier.refresh()  # what Feast does by itself when the cache expires in the middle of an apply
    applier.apply_feature_view(view("second"), PROJECT, commit=False)
    assert names(place) == ["other"]
    applier.commit()
    assert names(place) == ["first", "other", "second"]


def test_nothing_new_is_no_write(place: Place) -> None:
    registry(place).apply_feature_view(view("one"), PROJECT)
    before = place.mark()
    reopened = registry(place)
    reopened.commit()
    assert place.mark() == before


def test_every_kind_of_object_is_merged(place: Place) -> None:
    left, right = registry(place), registry(place)
    left.apply_data_source(view("one").batch_source, PROJECT)
    left.apply_feature_view(view("one"), PROJECT)
    right.apply_entity(Entity(name="airport", join_keys=["origin"], value_type=String.to_value_type()), PROJECT)
    right.apply_project(Project(name="another"))
    left.apply_feature_service(FeatureService(name="service", features=[view("one")]), PROJECT)
    after = registry(place)
    assert after.get_feature_service("service", PROJECT).name == "service"
    assert after.get_data_source("one_source", PROJECT).name == "one_source"
    assert after.get_entity("airport", PROJECT).name == "airport"
    assert sorted(project.name for project in after.list_projects()) == ["another", PROJECT]
    with pytest.raises(EntityNotFoundException):
        after.get_entity("runway", PROJECT)


def test_a_project_can_be_deleted_whole(place: Place) -> None:
    applier = registry(place)
    applier.apply_feature_view(view("one"), PROJECT)
    applier.apply_project(Project(name="another"))
    applier.delete_project(PROJECT)
    # Read as stored: Feast itself makes a project again from its metadata, which delete_project leaves.
    stored = RegistryProto.FromString(place.content() or b"")
    assert [project.spec.name for project in stored.projects] == ["another"]
    assert len(stored.feature_views) == len(stored.entities) == 0
    with pytest.raises(FeatureViewNotFoundException):
        registry(place).get_feature_view("one", PROJECT)


def test_project_metadata_is_kept_beside_everything_else(place: Place) -> None:
    writer, stale = registry(place), registry(place)
    writer.set_project_metadata(PROJECT, "owner", "platform")
    writer.set_project_metadata(PROJECT, "tier", "1")
    stale.apply_feature_view(view("one"), PROJECT)
    assert [registry(place).get_project_metadata(PROJECT, key) for key in ("owner", "tier", "x")] == [
        "platform",
        "1",
        None,
    ]
    assert names(place) == ["one"]


def test_a_missing_registry_is_a_file_not_found(empty: Place) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a Feast registry, found no (file|blob)"):
        store_of(empty).get_registry_proto()


def test_bytes_that_are_no_registry_are_refused_and_left_alone(place: Place) -> None:
    place.write(b"not a registry at all \xff\xff")
    with pytest.raises(DataError, match="24 bytes that are not a Feast registry"):
        store_of(place).get_registry_proto()
    assert (place.content() or b"").startswith(b"not a registry")


def test_teardown_removes_the_registry(place: Place) -> None:
    torn = registry(place)
    torn.teardown()
    assert place.content() is None
    torn.teardown()


def test_a_registry_that_was_torn_down_meanwhile_is_made_again(place: Place) -> None:
    stale = registry(place)
    registry(place).teardown()
    stale.apply_feature_view(view("one"), PROJECT)
    assert names(place) == ["one"]


# ------------------------------------------------------------------------------------------------ an apply that raised


STORE = """
project: {project}
provider: local
entity_key_serialization_version: 3
registry: {registry}
online_store:
  type: feast_lakehouse.online_store.LakehouseRedisOnlineStore
  connection_string: "{redis}"
offline_store:
  type: feast_lakehouse.offline_store.LakehouseOfflineStore
batch_engine:
  type: feast_lakehouse.engine.LakehouseEngine
"""


@pytest.fixture
def store(place: Place) -> FeatureStore:
    """A store whose Redis does not answer: an apply passes over that, unless a view is to be deleted."""
    text = STORE.format(project=PROJECT, registry=json.dumps(place.config), redis=f"127.0.0.1:{free_port()}")
    (place.folder / "feature_store.yaml").write_text(text)
    made = FeatureStore(repo_path=str(place.folder))
    made.apply([AIRCRAFT, view("one")])
    return made


def materialized(store: FeatureStore) -> None:
    """What the engine tells the registry after a run."""
    found = store.registry.get_feature_view("one", PROJECT)
    store.registry.apply_materialization(
        found, PROJECT, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC)
    )


LATER: dict[str, Callable[[FeatureStore], None]] = {
    "materialize": materialized,
    "apply": lambda store: store.apply([AIRCRAFT, view("two")]),
}


@pytest.mark.parametrize("later", LATER)
def test_a_refused_view_is_not_committed_by_what_comes_later(place: Place, store: FeatureStore, later: str) -> None:
    refused = view("refused")
    refused.schema.append(Field(name="odd", dtype=Decimal))
    refused.features.append(Field(name="odd", dtype=Decimal))
    with pytest.raises(DataError, match="type decimal"):
        store.apply([AIRCRAFT, refused])
    LATER[later](store)
    assert names(place) == (["one"] if later == "materialize" else ["one", "two"])


@pytest.mark.parametrize("later", LATER)
def test_a_failed_delete_is_not_committed_by_what_comes_later(place: Place, store: FeatureStore, later: str) -> None:
    with pytest.raises(TransportError, match="deleting one"):
        store.apply([], objects_to_delete=[store.get_feature_view("one")], partial=False)
    LATER[later](store)
    assert names(place) == (["one"] if later == "materialize" else ["one", "two"])


def test_a_commit_that_failed_is_not_made_good_by_the_next(place: Place) -> None:
    applier, stored = registry(place), place.content() or b""
    place.write(b"not a registry at all \xff\xff")
    with pytest.raises(DataError):
        applier.apply_feature_view(view("failed"), PROJECT)
    place.write(stored)
    applier.apply_feature_view(view("next"), PROJECT)
    assert names(place) == ["next"]


def test_an_apply_survives_what_another_thread_reads_meanwhile(
    place: Place, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(**_: object) -> None:  # between an apply's changes and its commit
        with ThreadPoolExecutor(1) as other:
            for _ in range(2):
                other.submit(store.registry.refresh).result()

    monkeypatch.setattr(store._get_provider(), "update_infra", meanwhile)
    store.apply([AIRCRAFT, view("two")])
    assert names(place) == ["one", "two"]


# ------------------------------------------------------------------------------------------------------- the file


def at(path: Path) -> Place:
    return Place(str(path), path.parent)


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    place = at(tmp_path / "folder" / "of" / "registry.db")
    registry(place).apply_feature_view(view("one"), PROJECT)
    assert names(place) == ["one"]


def test_paths(tmp_path: Path) -> None:
    for given in ("data/registry.db", f"file://{tmp_path}/data/registry.db", f"{tmp_path}/data/registry.db"):
        store = LocalRegistryStore(RegistryConfig(path=given), tmp_path)
        assert store._filepath == tmp_path / "data/registry.db"


def test_mode_and_symbolic_link_are_kept(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    registry(at(link)).apply_feature_view(view("one"), PROJECT)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(at(path)) == ["one"]


# ------------------------------------------------------------------------------------------------- many processes


def in_child(work: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    child = FORK.Process(target=work)
    child.start()
    return child


def test_ten_processes_that_apply_at_once_lose_nothing(place: Place) -> None:
    start = time.monotonic() + 0.5

    def applier(name: str) -> Callable[[], None]:
        def work() -> None:
            mine = registry(place)
            time.sleep(max(0.0, start - time.monotonic()))
            for part in range(3):
                mine.apply_feature_view(view(f"{name}_{part}"), PROJECT)

        return work

    children = [in_child(applier(f"view{n}")) for n in range(10)]
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0] * 10
    assert names(place) == sorted(f"view{n}_{part}" for n in range(10) for part in range(3))


def test_threads_with_one_registry_each_lose_nothing(place: Place) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: registry(place).apply_feature_view(view(f"v{n}"), PROJECT), range(16)))
    assert len(names(place)) == 16


def test_readers_always_find_a_whole_registry(place: Place) -> None:
    registry(place).apply_feature_view(view("always"), PROJECT)

    def write() -> None:
        mine = registry(place)
        for lap in range(60):
            mine.apply_feature_view(view(f"w{lap % 7}", features=tuple(f"f{n}" for n in range(1 + lap % 40))), PROJECT)

    children = [in_child(write) for _ in range(2)]
    reads = 0
    while any(child.is_alive() for child in children):
        assert registry(place).get_feature_view("always", PROJECT).name == "always"
        reads += 1
    assert [child.exitcode for child in children] == [0, 0]
    assert reads > 20


def test_a_writer_killed_at_any_moment_leaves_every_acknowledged_apply(place: Place) -> None:
    moments = random.Random(7)
    acknowledged: set[str] = set()
    for lap in range(15):
        reader, writer = FORK.Pipe(duplex=False)

        def write(lap: int = lap, writer: multiprocessing.connection.Connection = writer) -> None:
            mine = registry(place)
            writer.send("ready")
            for n in range(10_000):
                mine.apply_feature_view(view(f"v{lap}_{n}"), PROJECT)
                writer.send(f"v{lap}_{n}")

        child = in_child(write)
        writer.close()
        assert reader.recv() == "ready"
        time.sleep(0.02 + moments.random() * 0.08)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        try:
            while reader.poll():
                acknowledged.add(reader.recv())
        except EOFError:
            pass
        assert acknowledged <= set(names(place))
    assert acknowledged
    assert {item.name for item in place.folder.iterdir()} <= {"registry.db", "registry.db.lock", "registry.db.new"}


REPO = """
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource
from feast.cli.cli import cli
from feast.data_format import DeltaFormat
from feast.types import Float64, Int64, String
from feast.value_type import ValueType

aircraft = Entity(name="aircraft", join_keys=["tailnum"], value_type=ValueType.STRING)
source = FileSource(
    name="aircraft_daily", path="lake://on_prem/features/aircraft_daily",
    file_format=DeltaFormat(), timestamp_field="event_timestamp",
)
aircraft_daily = FeatureView(
    name="aircraft_daily", entities=[aircraft], ttl=timedelta(days=3), source=source,
    schema=[Field(name="tailnum", dtype=String), Field(name="flights", dtype=Int64)],
)
"""
YAML = """
project: {project}
provider: local
entity_key_serialization_version: 3
registry: {registry}
online_store:
  type: sqlite
  path: online.db
offline_store:
  type: feast_lakehouse.offline_store.LakehouseOfflineStore
  lakes:
    on_prem: file://{home}/lakes/on_prem
"""


def feast_apply(folder: Path, project: str, place: Place) -> None:
    folder.mkdir(exist_ok=True)
    text = YAML.format(home=folder, project=project, registry=json.dumps(place.config))
    (folder / "feature_store.yaml").write_text(text)
    (folder / "definitions.py").write_text(REPO)
    result = CliRunner().invoke(cli, ["--chdir", str(folder), "apply"], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_feast_apply_from_many_repositories_at_once_and_again(tmp_path: Path, empty: Place) -> None:
    projects = [f"project_{n}" for n in range(4)]
    for _ in range(2):
        children = [in_child(lambda p=project: feast_apply(tmp_path / p, p, empty)) for project in projects]
        for child in children:
            child.join(120)
        assert [child.exitcode for child in children] == [0] * len(projects)
        after = registry(empty)
        for project in projects:
            assert [found.name for found in after.list_feature_views(project)] == ["aircraft_daily"]
            assert after.get_data_source("aircraft_daily", project).path == "lake://on_prem/features/aircraft_daily"
