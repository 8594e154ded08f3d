"""Passwords, keys and certificates of the cluster environment in containers: made once, kept, readable by their owner alone.

    FOLDER/ca.pem                 the authority's certificate, which clients trust; no secret
    FOLDER/secrets/values.json    every password and key
    FOLDER/secrets/*.pem, *.key   the servers' certificates
    FOLDER/secrets/*.env          what each service is given, made anew from the others at every start

Needs the standard library and openssl.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

ACCOUNT = "myfeast"
REDIS_USER = "feature_store"
HADOOP_USER = "feature_platform"
CA_IN_CONTAINER = "/run/my-feast-ca.pem"
SERVERS = ("kafka", "redis")
DAYS = "1825"
CA_EXTENSIONS = (
    "basicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n"
)
SERVER_EXTENSIONS = """basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:{},DNS:localhost,IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

VALUES: Mapping[str, Callable[[], str]] = {
    "admin_password": lambda: secrets.token_urlsafe(15),
    "jwt_secret": lambda: secrets.token_urlsafe(64),
    "secret_key": lambda: secrets.token_urlsafe(32),
    "fernet_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "postgres_password": lambda: secrets.token_hex(24),
    "redis_password": lambda: secrets.token_hex(24),
    "events_key": lambda: secrets.token_hex(24),
    "events_admin_password": lambda: secrets.token_hex(24),
    "storage_key": lambda: base64.b64encode(secrets.token_bytes(64)).decode(),
}


def make_secrets(folder: Path, *, spark_ui: str) -> dict[str, str]:
    """Make what is missing below the folder; every password and key by name. RuntimeError without openssl."""
    private = folder / "secrets"
    private.mkdir(parents=True, exist_ok=True)
    private.chmod(0o700)
    values = _values(private / "values.json")
    if not all((private / f"{name}.key").exists() for name in SERVERS):
        _make_certificates(folder, private)
    keys = {name: (private / f"{name}.key").read_text() for name in SERVERS}
    certificates = {name: (private / f"{name}.pem").read_text() for name in SERVERS}
    for name, variables in _files(values, keys, certificates, spark_ui=spark_ui).items():
        write_private(private / f"{name}.env", "".join(_line(*each) for each in variables.items()))
    return values


def _values(file: Path) -> dict[str, str]:
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    missing = {name: make() for name, make in VALUES.items() if name not in known}
    if missing:
        write_private(file, json.dumps(known | missing, indent=2))
    return known | missing


def _files(
    values: Mapping[str, str], keys: Mapping[str, str], certificates: Mapping[str, str], *, spark_ui: str
) -> dict[str, dict[str, str]]:
    """The variables of each service."""
    database = f"postgresql+psycopg2://airflow:{values['postgres_password']}@postgres:5432/airflow"
    return {
        "postgres": {"POSTGRES_PASSWORD": values["postgres_password"]},
        "redis": {
            "REDIS_PASSWORD": values["redis_password"],
            "REDIS_CERTIFICATE": _one_line(certificates["redis"]),
            "REDIS_KEY": _one_line(keys["redis"]),
        },
        "kafka": {
            "EVENTS_PASSWORD": events_password(values),
            "EVENTS_ADMIN_PASSWORD": values["events_admin_password"],
            "EVENTS_KEYSTORE": _one_line(keys["kafka"] + certificates["kafka"]),
        },
        "azurite": {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{values['storage_key']}"},
        "spark": {"MY_FEAST_CLOUD_KEY": values["storage_key"]},
        "admin": {"MY_FEAST_ADMIN_PASSWORD": values["admin_password"]},
        "airflow": {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CORE__FERNET_KEY": values["fernet_key"],
            "AIRFLOW__API__SECRET_KEY": values["secret_key"],
            "AIRFLOW__API_AUTH__JWT_SECRET": values["jwt_secret"],
        },
        "connections": {
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields)
            for name, fields in connections(values, spark_ui=spark_ui).items()
        },
    }


def events_password(values: Mapping[str, str]) -> str:
    """What Event Hubs wants as a password: a whole connection string."""
    return f"Endpoint=sb://kafka/;SharedAccessKeyName=my-feast;SharedAccessKey={values['events_key']}"


def connections(values: Mapping[str, str], *, spark_ui: str) -> dict[str, dict[str, object]]:
    """Airflow's connections by id, in Airflow's own JSON."""
    storage: dict[str, object] = {
        "conn_type": "wasb",
        "host": f"http://azurite:10000/{ACCOUNT}",
        "login": ACCOUNT,
        "password": values["storage_key"],
    }
    sasl = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "ssl.ca.location": CA_IN_CONTAINER}
    return {
        "my_feast_redis": {"conn_type": "redis", "login": REDIS_USER, "password": values["redis_password"]},
        "my_feast_on_prem": {"conn_type": "hdfs", "login": HADOOP_USER},
        "my_feast_cloud": storage,
        "my_feast_registry": storage,
        "my_feast_events": {
            "conn_type": "kafka",
            "login": "$ConnectionString",
            "password": events_password(values),
            "extra": sasl,
        },
        "spark_default": {"conn_type": "spark", "host": "spark://spark-master:7077", "extra": {"ui": spark_ui}},
    }


def _make_certificates(folder: Path, private: Path) -> None:
    """An authority, and what it signs for each server; the authority's key is then thrown away."""
    program = shutil.which("openssl")
    if program is None:
        raise RuntimeError("openssl is not on PATH: it makes the certificates of Kafka and Redis. Install it.")
    with tempfile.TemporaryDirectory(dir=private) as name:
        scratch = Path(name)
        (scratch / "ca.ext").write_text(CA_EXTENSIONS)
        _sign(program, scratch, "ca", ["-signkey", str(scratch / "ca.key")])
        for server in SERVERS:
            (scratch / f"{server}.ext").write_text(SERVER_EXTENSIONS.format(server))
            signer = ["-CA", str(scratch / "ca.pem"), "-CAkey", str(scratch / "ca.key"), "-CAcreateserial"]
            _sign(program, scratch, server, signer)
        (scratch / "ca.pem").replace(folder / "ca.pem")
        (folder / "ca.pem").chmod(0o644)
        for server in SERVERS:
            for ending in ("pem", "key"):  # the key last: it says that all is there
                write_private(private / f"{server}.{ending}", (scratch / f"{server}.{ending}").read_text())


def _sign(program: str, scratch: Path, name: str, signer: list[str]) -> None:
    """NAME.key (PKCS8, as Kafka reads it) and NAME.pem, with the extensions of NAME.ext."""
    key, request = str(scratch / f"{name}.key"), str(scratch / f"{name}.csr")
    _run([program, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key])
    _run([program, "req", "-new", "-key", key, "-subj", f"/CN=my-feast {name}", "-out", request])
    made = ["-days", DAYS, "-sha256", "-extfile", str(scratch / f"{name}.ext"), "-out", str(scratch / f"{name}.pem")]
    _run([program, "x509", "-req", "-in", request, *signer, *made])


def write_private(file: Path, text: str) -> None:
    """Whole or not at all, and from its first byte on readable by its owner alone."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    aside.replace(file)


def _line(name: str, value: str) -> str:
    """In single quotes Compose takes a value as it is: a connection's `$ConnectionString` is no variable of it."""
    if "'" in value or "\n" in value:
        raise ValueError(f"{name}: expected a value of one line without single quotes")
    return f"{name}='{value}'\n"


def _one_line(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command[:2])}` ended with {done.returncode}: {done.stderr.strip()}")
