from __future__ import annotations

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
from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project
from feast.cli.cli import cli
from feast.data_format import DeltaFormat
from feast.errors import EntityNotFoundException, FeatureViewNotFoundException
from feast.infra.registry.registry import Registry
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig
from feast.types import Int64, String

from feast_lakehouse.errors import DataError
from feast_lakehouse.registry_store import LocalRegistryStore

PROJECT = "my_feast"
FORK = multiprocessing.get_context("fork")
AIRCRAFT = Entity(name="aircraft", join_keys=["tailnum"], value_type=String.to_value_type())


def registry(path: Path, *, ttl: int = 0) -> Registry:
    """A registry with a cache of its own, as every process has one. ttl 0: the cache never expires by itself."""
    config = RegistryConfig(
        registry_store_type="feast_lakehouse.registry_store.LocalRegistryStore",
        path=str(path),
        cache_ttl_seconds=ttl,
        cache_mode="thread",
    )
    return Registry(PROJECT, config, path.parent)


def view(name: str, *, features: tuple[str, ...] = ("flights",), days: int = 1) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path=f"lake://on_prem/features/{name}",
        file_format=DeltaFormat(),
        timestamp_field="event_timestamp",
    )
    schema = [Field(name="tailnum", dtype=String), *(Field(name=feature, dtype=Int64) for feature in features)]
    return FeatureView(name=name, entities=[AIRCRAFT], schema=schema, ttl=timedelta(days=days), source=source)


def names(path: Path) -> list[str]:
    return sorted(found.name for found in registry(path).list_feature_views(PROJECT))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "registry.db"
    registry(path).apply_entity(AIRCRAFT, PROJECT)
    return path


# ------------------------------------------------------------------------------------------ two writers, step by step


def test_two_stale_writers_lose_nothing(path: Path) -> None:
    left, right = registry(path), registry(path)
    left.apply_feature_view(view("left"), PROJECT)
    right.apply_feature_view(view("right"), PROJECT)
    left.apply_feature_view(view("left_again"), PROJECT)
    assert names(path) == ["left", "left_again", "right"]
    assert sorted(v.name for v in left.list_feature_views(PROJECT, allow_cache=True)) == ["left", "left_again", "right"]


def test_first_writers_of_a_new_registry_share_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "of" / "registry.db"
    left, right = registry(path), registry(path)
    right.apply_feature_view(view("right"), PROJECT)
    left.apply_feature_view(view("left"), PROJECT)
    assert names(path) == ["left", "right"]
    assert [project.name for project in registry(path).list_projects()] == [PROJECT]


def test_a_deleted_view_does_not_come_back_with_a_stale_writer(path: Path) -> None:
    registry(path).apply_feature_view(view("old"), PROJECT)
    stale = registry(path)
    registry(path).delete_feature_view("old", PROJECT)
    stale.apply_feature_view(view("other"), PROJECT)
    assert names(path) == ["other"]


def test_a_late_materialization_does_not_bring_a_deleted_view_back(path: Path) -> None:
    registry(path).apply_feature_view(view("old"), PROJECT)
    stale = registry(path)
    registry(path).delete_feature_view("old", PROJECT)
    found = stale.get_feature_view("old", PROJECT, allow_cache=True)
    stale.apply_materialization(found, PROJECT, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC))
    assert names(path) == []


def test_a_delete_wins_over_a_change_it_did_not_see(path: Path) -> None:
    registry(path).apply_feature_view(view("old"), PROJECT)
    stale = registry(path)
    registry(path).apply_feature_view(view("old", features=("flights", "more")), PROJECT)
    stale.delete_feature_view("old", PROJECT)
    assert names(path) == []


def test_an_apply_after_a_delete_it_did_not_see_is_there(path: Path) -> None:
    registry(path).apply_feature_view(view("old"), PROJECT)
    stale = registry(path)
    registry(path).delete_feature_view("old", PROJECT)
    stale.apply_feature_view(view("old", features=("flights", "more")), PROJECT)
    assert names(path) == ["old"]


def test_of_two_changes_of_one_view_the_later_acknowledged_wins(path: Path) -> None:
    registry(path).apply_feature_view(view("one"), PROJECT)
    left, right = registry(path), registry(path)
    left.apply_feature_view(view("one", features=("flights", "left"), days=7), PROJECT)
    right.apply_feature_view(view("one", features=("flights", "right")), PROJECT)
    found = registry(path).get_feature_view("one", PROJECT)
    assert [feature.name for feature in found.features] == ["flights", "right"]
    assert found.ttl == timedelta(days=1)  # a definition is never mixed of two


def test_materialization_intervals_of_both_writers_stay(path: Path) -> None:
    registry(path).apply_feature_view(view("one"), PROJECT)
    writers = [registry(path) for _ in range(3)]
    for day, writer in enumerate(writers, start=1):
        found = writer.get_feature_view("one", PROJECT, allow_cache=True)
        start = datetime(2013, 1, day, tzinfo=UTC)
        writer.apply_materialization(found, PROJECT, start, start + timedelta(days=1))
    changed = registry(path)
    changed.apply_feature_view(view("one", features=("flights", "more")), PROJECT)
    found = registry(path).get_feature_view("one", PROJECT)
    assert [interval[0].day for interval in found.materialization_intervals] == [1, 2, 3]
    assert [feature.name for feature in found.features] == ["flights", "more"]


def test_a_definition_and_a_materialization_at_the_same_time_both_stay(path: Path) -> None:
    registry(path).apply_feature_view(view("one"), PROJECT)
    applier, engine = registry(path), registry(path)
    applier.apply_feature_view(view("one", features=("flights", "more")), PROJECT)
    found = engine.get_feature_view("one", PROJECT, allow_cache=True)
    engine.apply_materialization(found, PROJECT, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC))
    after = registry(path).get_feature_view("one", PROJECT)
    assert [feature.name for feature in after.features] == ["flights", "more"]
    assert len(after.materialization_intervals) == 1


def test_an_apply_survives_a_refresh_before_its_commit(path: Path) -> None:
    applier = registry(path)
    applier.apply_feature_view(view("first"), PROJECT, commit=False)
    registry(path).apply_feature_view(view("other"), PROJECT)
    applier.refresh()  # what Feast does by itself when the cache expires in the middle of an apply
    applier.apply_feature_view(view("second"), PROJECT, commit=False)
    assert names(path) == ["other"]
    applier.commit()
    assert names(path) == ["first", "other", "second"]


def test_nothing_new_is_no_write(path: Path) -> None:
    registry(path).apply_feature_view(view("one"), PROJECT)
    before = path.stat()
    reopened = registry(path)
    reopened.commit()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_every_kind_of_object_is_merged(path: Path) -> None:
    left, right = registry(path), registry(path)
    left.apply_data_source(view("one").batch_source, PROJECT)
    left.apply_feature_view(view("one"), PROJECT)
    right.apply_entity(Entity(name="airport", join_keys=["origin"], value_type=String.to_value_type()), PROJECT)
    right.apply_project(Project(name="another"))
    left.apply_feature_service(FeatureService(name="service", features=[view("one")]), PROJECT)
    after = registry(path)
    assert after.get_feature_service("service", PROJECT).name == "service"
    assert after.get_data_source("one_source", PROJECT).name == "one_source"
    assert after.get_entity("airport", PROJECT).name == "airport"
    assert sorted(project.name for project in after.list_projects()) == ["another", PROJECT]
    with pytest.raises(EntityNotFoundException):
        after.get_entity("runway", PROJECT)


def test_a_project_can_be_deleted_whole(path: Path) -> None:
    applier = registry(path)
    applier.apply_feature_view(view("one"), PROJECT)
    applier.apply_project(Project(name="another"))
    applier.delete_project(PROJECT)
    # Read as stored: Feast itself makes a project again from its metadata, which delete_project leaves.
    stored = RegistryProto.FromString(path.read_bytes())
    assert [project.spec.name for project in stored.projects] == ["another"]
    assert len(stored.feature_views) == len(stored.entities) == 0
    with pytest.raises(FeatureViewNotFoundException):
        registry(path).get_feature_view("one", PROJECT)


def test_project_metadata_is_kept_beside_everything_else(path: Path) -> None:
    writer, stale = registry(path), registry(path)
    writer.set_project_metadata(PROJECT, "owner", "platform")
    writer.set_project_metadata(PROJECT, "tier", "1")
    stale.apply_feature_view(view("one"), PROJECT)
    assert [registry(path).get_project_metadata(PROJECT, key) for key in ("owner", "tier", "x")] == [
        "platform",
        "1",
        None,
    ]
    assert names(path) == ["one"]


# ------------------------------------------------------------------------------------------------------- the file


def test_paths(tmp_path: Path) -> None:
    for given in ("data/registry.db", f"file://{tmp_path}/data/registry.db", f"{tmp_path}/data/registry.db"):
        store = LocalRegistryStore(RegistryConfig(path=given), tmp_path)
        assert store._filepath == tmp_path / "data/registry.db"


def test_a_missing_registry_is_a_file_not_found(tmp_path: Path) -> None:
    store = LocalRegistryStore(RegistryConfig(path="registry.db"), tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a Feast registry, found no file"):
        store.get_registry_proto()


def test_a_file_that_is_no_registry_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"not a registry at all \xff\xff")
    store = LocalRegistryStore(RegistryConfig(path="registry.db"), tmp_path)
    with pytest.raises(DataError, match="24 bytes that are not a Feast registry"):
        store.get_registry_proto()
    assert (tmp_path / "registry.db").read_bytes().startswith(b"not a registry")


def test_teardown_removes_the_registry(path: Path) -> None:
    registry(path).teardown()
    assert not path.exists()
    registry(path).teardown()


def test_mode_and_symbolic_link_are_kept(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    registry(link).apply_feature_view(view("one"), PROJECT)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(path) == ["one"]


# ------------------------------------------------------------------------------------------------- many processes


def in_child(work: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    child = FORK.Process(target=work)
    child.start()
    return child


def test_ten_processes_that_apply_at_once_lose_nothing(path: Path) -> None:
    start = time.monotonic() + 0.5

    def applier(name: str) -> Callable[[], None]:
        def work() -> None:
            mine = registry(path)
            time.sleep(max(0.0, start - time.monotonic()))
            for part in range(3):
                mine.apply_feature_view(view(f"{name}_{part}"), PROJECT)

        return work

    children = [in_child(applier(f"view{n}")) for n in range(10)]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 10
    assert names(path) == sorted(f"view{n}_{part}" for n in range(10) for part in range(3))


def test_threads_with_one_registry_each_lose_nothing(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: registry(path).apply_feature_view(view(f"v{n}"), PROJECT), range(16)))
    assert len(names(path)) == 16


def test_readers_always_find_a_whole_registry(path: Path) -> None:
    registry(path).apply_feature_view(view("always"), PROJECT)

    def write() -> None:
        mine = registry(path)
        for lap in range(60):
            mine.apply_feature_view(view(f"w{lap % 7}", features=tuple(f"f{n}" for n in range(1 + lap % 40))), PROJECT)

    children = [in_child(write) for _ in range(2)]
    reads = 0
    while any(child.is_alive() for child in children):
        assert registry(path).get_feature_view("always", PROJECT).name == "always"
        reads += 1
    assert [child.exitcode for child in children] == [0, 0]
    assert reads > 20


def test_a_writer_killed_at_any_moment_leaves_every_acknowledged_apply(path: Path) -> None:
    moments = random.Random(7)
    acknowledged: set[str] = set()
    for lap in range(15):
        reader, writer = FORK.Pipe(duplex=False)

        def write(lap: int = lap, writer: multiprocessing.connection.Connection = writer) -> None:
            mine = registry(path)
            for n in range(10_000):
                mine.apply_feature_view(view(f"v{lap}_{n}"), PROJECT)
                writer.send(f"v{lap}_{n}")

        child = in_child(write)
        writer.close()
        time.sleep(0.02 + moments.random() * 0.08)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        try:
            while reader.poll():
                acknowledged.add(reader.recv())
        except EOFError:
            pass
        assert acknowledged <= set(names(path))
    assert acknowledged
    assert {item.name for item in path.parent.iterdir()} <= {"registry.db", "registry.db.lock", "registry.db.new"}


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
project: my_feast
provider: local
entity_key_serialization_version: 3
registry:
  registry_store_type: feast_lakehouse.registry_store.LocalRegistryStore
  path: registry.db
online_store:
  type: sqlite
  path: online.db
offline_store:
  type: feast_lakehouse.offline_store.LakehouseOfflineStore
  lakes:
    on_prem: file://{home}/lakes/on_prem
"""


def feast_apply(folder: Path, project: str, registry_file: Path) -> None:
    folder.mkdir(exist_ok=True)
    text = YAML.format(home=folder).replace("my_feast", project).replace("registry.db", str(registry_file))
    (folder / "feature_store.yaml").write_text(text)
    (folder / "definitions.py").write_text(REPO)
    result = CliRunner().invoke(cli, ["--chdir", str(folder), "apply"], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_feast_apply_from_many_repositories_at_once_and_again(tmp_path: Path) -> None:
    shared = tmp_path / "registry.db"
    projects = [f"project_{n}" for n in range(4)]
    for _ in range(2):
        children = [in_child(lambda p=project: feast_apply(tmp_path / p, p, shared)) for project in projects]
        for child in children:
            child.join(120)
        assert [child.exitcode for child in children] == [0] * len(projects)
        after = registry(shared)
        for project in projects:
            assert [found.name for found in after.list_feature_views(project)] == ["aircraft_daily"]
            assert after.get_data_source("aircraft_daily", project).path == "lake://on_prem/features/aircraft_daily"
