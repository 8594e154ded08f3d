"""Storage that refuses, fails or is not there: an error in seconds, of the right class, that says what to check, no secret."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from feast_lakehouse.delta import FileEntry, TableRef, TableState
from feast_lakehouse.errors import DataError, LakehouseError, TableMissing, TransportError
from feast_lakehouse.lakes import Lakes, StorageOptions
from feast_lakehouse.publish import publish
from feast_lakehouse.scan import Scanner
from feast_lakehouse.storage_errors import MASK, readable, redacted, storage_error
from feast_lakehouse.tables import write_interval
from feast_lakehouse.writing import writable_filesystem
from tests.feast_lakehouse.lake_tables import SCHEMA, batches_of, read, rows_of, stage
from tests.services.azurite import Azurite, azurite
from tests.services.certificates import Authority
from tests.services.hdfs import Hdfs
from tests.services.programs import free_port, wait_until
from tests.services.stack import or_skip

DAY = "2013-01-01"
SECONDS = 90
PLACE = "lake cloud, connection my_feast_cloud"


def land(ref: TableRef, day: str = DAY) -> None:
    write_interval(ref, day, batches_of(rows_of(day, 3)), schema=SCHEMA)


def has_rows(ref: TableRef) -> bool:
    try:
        return len(read(ref)) == 3
    except TransportError:
        return False


USES: dict[str, Callable[[TableRef], object]] = {
    "exists": TableRef.exists,
    "state": TableRef.state,
    "land": land,
}


@contextmanager
def told(kind: type[LakehouseError], pattern: str, *secrets: str) -> Iterator[None]:
    """Exactly that class, within seconds, short, with the place to check, and without any secret in the chain."""
    began = time.monotonic()
    with pytest.raises(kind, match=pattern) as caught:
        yield
    assert time.monotonic() - began < SECONDS
    assert isinstance(caught.value, TransportError) == (kind is TransportError)
    said = str(caught.value)
    assert len(said) < 1200
    assert "\n\tat " not in said
    assert "\x1b" not in said
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for secret in secrets:
        assert secret not in said


# ------------------------------------------------------------------------------------------------------------ texts


@pytest.mark.parametrize(
    "text",
    [
        "GET https://a.blob.core.windows.net/c?sv=2026&sig=c2VjcmV0%3D&se=1 failed",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0;EndpointSuffix=x",
        "SharedAccessSignature=sv=1&sig=c2VjcmV0",
        "Authorization: Bearer c2VjcmV0.x.y",
        "rediss://user:c2VjcmV0@host:6380/0",
        "client_secret=c2VjcmV0&grant_type=client_credentials",
        "password=c2VjcmV0,ssl=true",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert "c2VjcmV0" not in redacted(text)
    assert MASK in redacted(text)


def test_known_secrets_are_masked_in_every_form() -> None:
    error = OSError("key a+b/c= and a%2Bb%2Fc%3D refused")
    said = str(
        storage_error("abfss://c@a.dfs.core.windows.net/t", "x", error, options={"azure_storage_account_key": "a+b/c="})
    )
    assert "a+b/c=" not in said
    assert "a%2Bb%2Fc%3D" not in said


def test_a_text_becomes_one_short_line() -> None:
    said = readable(
        "\x1b[31mGeneric error\x1b[0m\n   ↳ RPC error\n  ↳ java.io.IOException no\n\tat org.A.b(A.java:1)\n\tat c"
    )
    assert said == "Generic error: RPC error: java.io.IOException no"
    xml = '404: <?xml version="1.0"?>\n<Error><Code>ContainerNotFound</Code><Message>It is not.\nRequestId:1</Message></Error>'
    assert readable(xml) == "404: ContainerNotFound: It is not."
    assert len(readable("x" * 5000)) < 500


def test_an_unknown_text_is_what_the_caller_takes_it_for() -> None:
    assert isinstance(storage_error("/t", "x", OSError("never seen")), TransportError)
    assert isinstance(storage_error("/t", "x", OSError("never seen"), otherwise=DataError), DataError)


# -------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("uri", "pattern"),
    [
        ("webhdfs://namenode:9870/lake", r"scheme 'webhdfs'.*hdfs://<namenode>:8020"),
        ("wasbs://lake@account.blob.core.windows.net", r"scheme 'wasbs'.*abfss://<container>@<account>"),
        ("https://account.blob.core.windows.net/lake", r"scheme 'https'.*abfss://<container>@<account>"),
        ("hfds://namenode:8020/lake", r"scheme 'hfds'\. Expected file://, hdfs:// or abfss://"),
        ("hdfs:///lake", "expected a host after hdfs://"),
    ],
)
def test_a_wrong_scheme_is_refused_where_the_lake_is_named(uri: str, pattern: str) -> None:
    with told(DataError, rf"lake cloud\).*{pattern}"):
        Lakes({"cloud": uri})
    with told(DataError, pattern):
        TableRef(uri)


def test_an_address_without_an_account(azurite_account: Azurite) -> None:
    with told(DataError, r"Expected abfss://<container>@<account>"):
        TableRef("abfss://lake@account/x", azurite_account.storage_options, PLACE).exists()


def test_a_name_service_without_its_settings() -> None:
    with told(DataError, r"HADOOP_CONF_DIR.*Check lake on_prem"):
        TableRef("hdfs://company/lake/t", {}, "lake on_prem").exists()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that answers nothing, as behind a firewall that drops: its queue of new connections is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.settimeout(0)
            client.connect_ex(server.getsockname())
        yield int(server.getsockname()[1])
        for client in clients:
            client.close()


@pytest.mark.parametrize("use", USES)
def test_a_host_that_is_not_there_or_says_nothing(use: str) -> None:
    with told(TransportError, r"no NameNode answers at 127\.0\.0\.1:"):
        USES[use](TableRef(f"hdfs://127.0.0.1:{free_port()}/lake/t", {}, PLACE))
    with told(TransportError, r"no NameNode answers at nowhere\.invalid:8020"):
        USES[use](TableRef("hdfs://nowhere.invalid:8020/lake/t", {}, PLACE))
    with black_hole() as port, told(TransportError, rf"no NameNode answers at 127\.0\.0\.1:{port}: timed out"):
        USES[use](TableRef(f"hdfs://127.0.0.1:{port}/lake/t", {}, PLACE))


def test_an_account_that_is_not_there_or_says_nothing(azurite_account: Azurite) -> None:
    uri = f"abfss://lake@{azurite_account.account}.dfs.core.windows.net/t"
    for port in (free_port(), None):
        with black_hole() as silent:
            options = {
                **azurite_account.storage_options,
                "azure_storage_endpoint": f"http://127.0.0.1:{port or silent}/a",
            }
            with told(TransportError, rf"may this machine reach it.*Check {PLACE}", azurite_account.key):
                TableRef(uri, options, PLACE).exists()


def test_the_data_of_an_account_that_takes_connections_and_says_nothing(azurite_account: Azurite) -> None:
    uri = f"abfss://lake@{azurite_account.account}.dfs.core.windows.net/t"
    state = TableState(0, "id", pa.schema({"x": pa.int64()}), {"a.parquet": FileEntry("a.parquet", 900, None, {})})
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent, duckdb.connect() as connection:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        options = {**azurite_account.storage_options, "azure_storage_endpoint": endpoint}
        scanner = Scanner(connection)
        rows = scanner.relation(TableRef(uri, options, PLACE), state, state.files, ["x"])
        with (
            told(TransportError, rf"reading a.parquet.*may this machine reach it.*Check {PLACE}", azurite_account.key),
            scanner.reading(),
        ):
            connection.execute(f"SELECT x FROM {rows}")


# ------------------------------------------------------------------------------------------------------------ Azure


@pytest.mark.parametrize("use", USES)
def test_a_wrong_key(azurite_account: Azurite, use: str, request: pytest.FixtureRequest) -> None:
    wrong = "AAAA" + azurite_account.key[4:]
    options = StorageOptions({**azurite_account.storage_options, "azure_storage_account_key": wrong}, origin="")
    uri = f"abfss://lake@{azurite_account.account}.dfs.core.windows.net/t"
    with told(DataError, rf"The account refused the credential.*Check {PLACE}\.", wrong):
        USES[use](TableRef(uri, options, PLACE))
    with told(DataError, r"not base64", "no key!"):
        USES[use](TableRef(uri, {**options, "azure_storage_account_key": "no key!"}, PLACE))


@pytest.mark.parametrize("use", USES)
def test_a_missing_container(azurite_account: Azurite, use: str) -> None:
    uri = f"abfss://nowhere@{azurite_account.account}.dfs.core.windows.net/t"
    with told(DataError, rf"The container does not exist.*Check {PLACE}\.", azurite_account.key):
        USES[use](TableRef(uri, azurite_account.storage_options, PLACE))


def test_a_sas_that_has_ended_or_may_only_read(azurite_account: Azurite) -> None:
    account, name = azurite_account, "sas"
    uri = f"{account.container(name)}/t"
    without_key = {option: value for option, value in account.storage_options.items() if "key" not in option}

    def with_sas(permission: str, hours: int) -> tuple[TableRef, str]:
        ends = datetime.now(UTC) + timedelta(hours=hours)
        may = ContainerSasPermissions.from_string(permission)
        sas = generate_container_sas(account.account, name, account_key=account.key, permission=may, expiry=ends)
        return TableRef(uri, {**without_key, "azure_storage_sas_token": sas}, PLACE), sas.rpartition("sig=")[2]

    ref, _ = with_sas("racwdl", 1)
    land(ref)
    assert len(read(ref)) == 3
    ref, signature = with_sas("rl", 1)
    assert len(read(ref)) == 3
    with told(DataError, rf"a SAS needs the permissions racwdl.*Check {PLACE}\.", signature):
        land(ref, "2013-01-02")
    ref, signature = with_sas("racwdl", -1)
    with told(DataError, r"not expired", signature):
        ref.state()


def test_an_expired_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    with or_skip(azurite(tmp_path / "azurite", certificate=authority.issue("azurite", expired=True))) as account:
        uri = f"abfss://lake@{account.account}.dfs.core.windows.net/t"
        with told(DataError, rf"certificate is not valid.*Check {PLACE}\.", account.key):
            TableRef(uri, account.storage_options, PLACE).exists()


# ------------------------------------------------------------------------------------------------------------- HDFS


@pytest.fixture
def table(hdfs_system: Hdfs) -> TableRef:
    ref = TableRef(f"{hdfs_system.uri}/errors/t", {}, "lake on_prem, connection my_feast_on_prem")
    land(ref)
    return ref


@pytest.mark.cluster
def test_another_user_may_not(hdfs_system: Hdfs, table: TableRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_USER_NAME", "mallory")
    check = r"Check lake on_prem, connection my_feast_on_prem\."
    with told(DataError, rf'(?s)user=mallory, access=WRITE, inode="/errors/t".*Give this user.*{check}'):
        land(table, "2013-01-02")
    with told(
        DataError, rf"/elsewhere does not exist and mallory may not make it.*hdfs dfs -mkdir /elsewhere.*{check}"
    ):
        land(TableRef(f"{hdfs_system.uri}/elsewhere/t", {}, table.place))
    assert len(read(table)) == 3
    hdfs_system.shell("-chmod", "700", "/errors", user=getpass.getuser())
    for use in USES.values():
        with told(DataError, r"user=mallory, access=EXECUTE"):
            use(table)
    hdfs_system.shell("-chmod", "755", "/errors", user=getpass.getuser())


@pytest.mark.cluster
def test_safe_mode_reads_and_does_not_write(hdfs_system: Hdfs, table: TableRef) -> None:
    uri = stage(table, "order", {"2013-01-03": rows_of("2013-01-03", 2)})
    hdfs_system.admin("-safemode", "enter")
    try:
        assert len(read(table)) == 3
        with told(TransportError, r"safe mode.*dfsadmin -safemode leave"):
            land(table, "2013-01-02")
        builds = {"2013-01-03": "aaaa"}
        with told(TransportError, r"safe mode"):
            publish(table, uri, builds, schema=SCHEMA, rows={"2013-01-03": 2}, current_builds=lambda: builds)
    finally:
        hdfs_system.admin("-safemode", "leave")


@pytest.mark.cluster
@pytest.mark.parametrize(("quota", "value"), [("-setQuota", "3"), ("-setSpaceQuota", "1000")])
def test_a_quota(hdfs_system: Hdfs, quota: str, value: str) -> None:
    folder = f"/quota{quota}"
    hdfs_system.shell("-mkdir", folder)
    hdfs_system.admin(quota, value, folder)
    with told(DataError, r"QuotaExceeded.*raise its quota"):
        land(TableRef(f"{hdfs_system.uri}{folder}/raw/t", {}, PLACE))


@pytest.mark.cluster
def test_no_live_datanode(hdfs_system: Hdfs, table: TableRef) -> None:
    uri = stage(table, "dead", {"2013-01-04": rows_of("2013-01-04", 2)})
    builds = {"2013-01-04": "aaaa"}
    hdfs_system.kill("datanode1")
    try:
        for at_once in (True, False):
            if not at_once:
                wait_until(lambda: hdfs_system.live_datanodes() == 0, what="a dead datanode", seconds=300)
            with told(TransportError, r"DataNode|Connection refused"):
                land(table, "2013-01-02")
            with told(TransportError, r"DataNode"):
                read(table)
            with told(TransportError, r"DataNode"):
                publish(table, uri, builds, schema=SCHEMA, rows={"2013-01-04": 2}, current_builds=lambda: builds)
    finally:
        hdfs_system.restart("datanode1")
    wait_until(lambda: has_rows(table), what="the blocks of a datanode that is back", seconds=300)


@pytest.mark.cluster
def test_the_wrong_port(hdfs_system: Hdfs) -> None:
    port = hdfs_system.http.rpartition(":")[2]
    with told(TransportError, r"RPC port \(usually 8020\)"):
        TableRef(f"hdfs://127.0.0.1:{port}/lake/t", {}, PLACE).exists()


@pytest.mark.cluster
def test_a_namenode_that_dies_is_an_outage(hdfs_system: Hdfs, table: TableRef) -> None:
    filesystem = writable_filesystem(table)
    assert filesystem
    hdfs_system.kill("namenode")
    try:
        for use in USES.values():
            with told(TransportError, r"no NameNode answers"):
                use(table)
    finally:
        hdfs_system.restart("namenode")
    assert len(read(table)) == 3


def test_nothing_published_yet_is_no_outage(ref: TableRef) -> None:
    assert not ref.exists()
    with pytest.raises(TableMissing):
        ref.state()
