"""What is the blob registry's own: its address, its credentials, and who was first by ETag."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureSasCredential
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from feast import Entity
from feast.repo_config import RegistryConfig
from feast.types import String

from feast_lakehouse.blob_registry_store import BlobAddress, BlobRegistryStore
from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.named import from_origin
from tests.feast_lakehouse.registry_places import CONTAINER, PROJECT, Place, blob
from tests.services.azurite import Azurite
from tests.services.programs import free_port

ENTITY = Entity(name="aircraft", join_keys=["tailnum"], value_type=String.to_value_type())
SAS = "racwdl"
_credential: list[Any] = []
_numbers = itertools.count()


@from_origin("connection my_feast_registry")
def given() -> Any:
    return _credential[-1]


@pytest.fixture
def place(tmp_path: Path, azurite_account: Azurite) -> Place:
    made = blob(tmp_path, azurite_account)
    made.registry().apply_entity(ENTITY, PROJECT)
    return made


def store(path: str, credential: Any = None) -> BlobRegistryStore:
    _credential.append(credential)
    return BlobRegistryStore(RegistryConfig(path=path, credentials=f"{__name__}.given"), None)


def sas(account: Azurite, *, permission: str = SAS, hours: int = 1) -> str:
    return generate_container_sas(
        account.account,
        CONTAINER,
        account_key=account.key,
        permission=ContainerSasPermissions.from_string(permission),
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://account.blob.core.windows.net/registry/my_feast/registry.db",
            BlobAddress("https://account.blob.core.windows.net", "registry", "my_feast/registry.db"),
        ),
        (
            "http://127.0.0.1:10000/devstoreaccount1/registry/registry.db",
            BlobAddress("http://127.0.0.1:10000/devstoreaccount1", "registry", "registry.db"),
        ),
        ("http://azurite:10000/a/b/c%20d", BlobAddress("http://azurite:10000/a", "b", "c d")),
    ],
)
def test_addresses(url: str, expected: BlobAddress) -> None:
    assert BlobAddress.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    ["abfss://registry@account.dfs.core.windows.net/r.db", "https://account.blob.core.windows.net/r.db", "r.db", "http://azurite:1/a/b"],
)  # fmt: skip
def test_an_address_that_names_no_blob_is_refused(url: str) -> None:
    with pytest.raises(DataError, match=r"expected https://<account>\.blob\.core\.windows\.net/<container>/<blob>"):
        store(url)


def test_a_credential_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(DataError, match="expected no credential in it") as caught:
        store("https://account.blob.core.windows.net/registry/r.db?sv=2026&sig=c2VjcmV0")
    assert "c2VjcmV0" not in str(caught.value)


def test_every_kind_of_credential_gets_in(place: Place, azurite_account: Azurite) -> None:
    for credential in (
        azurite_account.key,
        azurite_account.connection_string,
        sas(azurite_account),
        AzureSasCredential(sas(azurite_account)),
    ):
        assert len(store(place.path, credential).get_registry_proto().entities) == 1


@pytest.mark.parametrize("what", ["key", "expired", "read only", "container", "no key"])
def test_a_refusal_is_told_at_once_names_the_connection_and_holds_no_secret(
    place: Place, azurite_account: Azurite, what: str
) -> None:
    wrong = "AAAA" + azurite_account.key[4:]
    path, credential = place.path, {
        "key": wrong,
        "expired": sas(azurite_account, hours=-1),
        "read only": sas(azurite_account, permission="rl"),
        "container": azurite_account.key,
        "no key": "this is no key",
    }[what]  # fmt: skip
    if what == "container":
        path = path.replace(f"/{CONTAINER}/", "/nowhere/")
    began = time.monotonic()
    with pytest.raises(DataError, match=r"the registry('s credential)? cannot") as caught:
        _write(store(path, credential))
    said = str(caught.value)
    assert time.monotonic() - began < 60
    assert "Check registry, connection my_feast_registry." in said
    assert {"container": "The container does not exist", "read only": "racwdl"}.get(what, "") in said
    assert credential not in said
    assert "sig=" not in said
    assert caught.value.__cause__ is None


def test_an_account_that_does_not_answer_is_an_outage(azurite_account: Azurite) -> None:
    began = time.monotonic()
    path = f"http://127.0.0.1:{free_port()}/{azurite_account.account}/{CONTAINER}/r.db"
    with pytest.raises(TransportError, match="cannot be read"):
        store(path, azurite_account.key).get_registry_proto()
    assert time.monotonic() - began < 120


def _write(registry: BlobRegistryStore) -> None:
    try:
        found = registry.get_registry_proto()
    except FileNotFoundError:
        pytest.fail("a refusal looks like an empty registry")
    found.entities.add().spec.name = f"other{next(_numbers)}"
    registry.update_registry_proto(found)


class Counted(BlobRegistryStore):
    """Counts, and lets everybody write the first time only when all of them are about to."""

    def __init__(self, config: RegistryConfig, barrier: threading.Barrier | None = None) -> None:
        super().__init__(config, None)
        self.reads, self.swaps, self._barrier = 0, 0, barrier

    def _read(self) -> Any:
        self.reads += 1
        return super()._read()

    def _swap(self, content: bytes, seen: Any) -> bool:
        if self._barrier and not self.swaps:
            self._barrier.wait(30)
        self.swaps += 1
        return super()._swap(content, seen)


def test_a_write_that_nobody_disturbs_is_one_request(place: Place) -> None:
    mine = Counted(RegistryConfig(**place.config))
    _write(mine)
    assert (mine.reads, mine.swaps) == (1, 1)


def test_ten_writers_in_the_same_moment_lose_nothing(place: Place) -> None:
    barrier = threading.Barrier(10)
    writers = [Counted(RegistryConfig(**place.config), barrier) for _ in range(10)]

    def write(number: int) -> None:
        found = writers[number].get_registry_proto()
        found.entities.add().spec.name = f"entity{number}"
        writers[number].update_registry_proto(found)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(write, range(10)))
    found = {
        entity.spec.name
        for entity in store(place.path, place.account and place.account.key).get_registry_proto().entities
    }
    assert found == {"aircraft", *(f"entity{number}" for number in range(10))}
    assert sum(writer.swaps for writer in writers) > 10


def test_a_lease_that_somebody_holds_is_told(place: Place) -> None:
    assert place.account
    with place._blob() as held:
        lease = held.acquire_lease(15)
        with pytest.raises(TransportError, match=r"cannot be written.*LeaseIdMissing"):
            _write(store(place.path, place.account.key))
        lease.release()


def test_attempts_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(BlobRegistryStore):
        """Somebody is always faster."""

        def _swap(self, content: bytes, seen: Any) -> bool:
            assert place.account
            _write(store(place.path, place.account.key))
            return super()._swap(content, seen)

    monkeypatch.setattr("feast_lakehouse.merging_registry.ATTEMPTS", 3)
    with pytest.raises(TransportError, match="others wrote the registry 3 times"):
        _write(Late(RegistryConfig(**place.config), None))


def test_requests_do_not_fill_the_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert [entity.name for entity in place.registry().list_entities(PROJECT)] == [ENTITY.name]
    assert [record.name for record in caplog.records if record.name.startswith("azure")] == []
    assert "Request" not in caplog.text
