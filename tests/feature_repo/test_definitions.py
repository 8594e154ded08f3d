"""What `feast apply` makes of the definitions, with the embedded environment's own file, registry and Redis."""

from __future__ import annotations

import ast
import importlib.util
import logging
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from feature_pipelines import environment, registering
from spark_jobs.contract import Column, ContractError
from spark_jobs.features import feature_tables
from tests.servers import RedisServer

if TYPE_CHECKING:
    from feast import FeatureStore

CHECKOUT = Path(__file__).resolve().parents[2]
FEAST_TYPES = {"string": "String", "int32": "Int32", "int64": "Int64", "float32": "Float32", "float64": "Float64"}


@pytest.fixture(scope="module")
def definitions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("definitions_alone", CHECKOUT / "feature_repo" / "definitions.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def store(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """A Feast client of an environment that nothing has been applied to."""
    monkeypatch.setenv("MY_FEAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MY_FEAST_REDIS", redis_server.connection_string)
    return environment.load().feature_store()


def test_apply_registers_one_view_per_table_named_like_its_file_and_one_service(store: FeatureStore) -> None:
    planned = registering.plan()
    assert registering.apply() == planned
    views = {view.name: view for view in store.list_feature_views()}
    files = {path.stem for path in (CHECKOUT / "spark_jobs" / "features").glob("[!_]*.py")}
    assert set(views) == files == set(feature_tables())
    assert len(views) == 4
    assert [service.name for service in store.list_feature_services()] == ["departure_delay_v1"]
    service = store.get_feature_service("departure_delay_v1")
    assert {projection.name for projection in service.feature_view_projections} == set(views)
    assert {entity.name for entity in store.list_entities()} == {"carrier", "dest", "origin", "tailnum"}


def test_a_view_says_what_its_contract_says(store: FeatureStore) -> None:
    registering.apply()
    for name, table in feature_tables().items():
        view = store.get_feature_view(name)
        assert view.batch_source.path == f"lake://{table.lake}/features/{name}"
        assert view.batch_source.timestamp_field == "event_timestamp"
        assert (view.ttl, view.owner, view.description) == (table.ttl or timedelta(0), table.owner, table.description)
        assert view.tags == {"lake": table.lake}
        assert view.join_keys == [key.name for key in table.keys]
        assert [(each.name, str(each.dtype), each.description) for each in view.features] == [
            (each.name, FEAST_TYPES[each.dtype], each.description) for each in table.features
        ]
        assert {each.name: each.tags.get("unit", "") for each in view.features} == {
            each.name: each.unit for each in table.features
        }


def test_applying_twice_changes_nothing_and_says_so(
    store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(registering.apply()) == 14
    registry = (tmp_path / "home" / "registry.db").read_bytes()
    caplog.set_level(logging.INFO)
    assert registering.plan() == registering.apply() == []
    assert "No changes to the registry of project my_feast" in caplog.text
    assert (tmp_path / "home" / "registry.db").read_bytes() == registry
    assert len(store.list_feature_views()) == 4


def test_a_changed_definition_is_planned_by_name_and_then_applied(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    registering.apply()
    module = sys.modules["definitions"]
    table = feature_tables()["airport_hourly"]
    changed = replace(table, description="Changed.")
    monkeypatch.setattr(module, "view_airport_hourly", module.view(changed, module.entities({"x": table})))
    monkeypatch.delattr(module, "service_departure_delay_v1")
    expected = [
        "update data source airport_hourly",
        "update feature view airport_hourly",
        "delete feature service departure_delay_v1",
    ]
    assert registering.plan() == expected
    assert registering.apply() == expected
    store.refresh_registry()
    assert store.get_feature_view("airport_hourly").description == "Changed."
    assert store.list_feature_services() == []


def test_the_registry_holds_no_address_and_no_credential(store: FeatureStore, tmp_path: Path) -> None:
    registering.apply()
    registry = (tmp_path / "home" / "registry.db").read_bytes()
    assert str(tmp_path).encode() not in registry
    assert b"127.0.0.1" not in registry
    assert store.project == "my_feast"


def test_one_key_name_has_one_type(definitions: ModuleType) -> None:
    table = feature_tables()["airport_hourly"]
    other = replace(table, name="other", keys=(Column("origin", "int64", "Airport, as a number.", nullable=False),))
    with pytest.raises(ContractError, match="other: key origin is int64, in another table string"):
        definitions.entities({"airport_hourly": table, "other": other})


def test_every_contract_type_has_a_feast_type(definitions: ModuleType) -> None:
    from spark_jobs.contract import DTYPES

    assert set(definitions.FIELD_TYPES) == set(DTYPES)


def test_the_folder_imports_only_feast_and_spark_jobs() -> None:
    imported = set()
    for path in (CHECKOUT / "feature_repo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
    assert imported - sys.stdlib_module_names == {"feast", "spark_jobs"}
