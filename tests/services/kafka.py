"""Kafka as Event Hubs speaks it: one broker, SASL/PLAIN, user $ConnectionString, no topic made by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.services import downloads
from tests.services.certificates import Authority, Certificate
from tests.services.programs import LOOPBACK, Programs, free_ports, listens, secret, write_private

NAME = "kafka"
USER = "$ConnectionString"
HEAP = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass
class Kafka:
    """A running broker. `bootstrap` speaks SASL without TLS, `bootstrap_tls` SASL over TLS with a certificate of `ca`.

    The password is what Event Hubs wants there: a whole connection string. `admin` makes topics.
    """

    bootstrap: str
    bootstrap_tls: str
    ca: Path
    user: str
    password: str = field(repr=False)
    admin_password: str = field(repr=False)
    programs: Programs = field(repr=False)

    def settings(self, *, tls: bool = False, **options: Any) -> dict[str, Any]:
        """For a confluent_kafka client; options override."""
        own: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_tls if tls else self.bootstrap,
            "security.protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": self.user,
            "sasl.password": self.password,
        }
        return own | ({"ssl.ca.location": str(self.ca)} if tls else {}) | options

    def admin(self) -> AdminClient:
        """A client that may make and delete topics."""
        return AdminClient(self.settings() | {"sasl.username": "admin", "sasl.password": self.admin_password})

    def create_topic(self, name: str, *, partitions: int = 2, **config: str) -> None:
        """A topic whose records keep the producer's timestamp and stay for ever, unless `config` says otherwise."""
        own = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=own | config)
        admin = self.admin()
        for future in admin.create_topics([topic], operation_timeout=20).values():
            future.result()

    def answers(self) -> bool:
        """Whether the admin can log in and the broker knows its own cluster."""
        if not listens(int(self.bootstrap.rsplit(":", 1)[1])):
            return False  # librdkafka would write a line per attempt
        try:
            return bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False


@contextlib.contextmanager
def kafka(folder: Path, *, certificate: Certificate | None = None, ca: Path | None = None) -> Iterator[Kafka]:
    """A broker and controller in one process on an empty folder; with the TLS certificate given, or one of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    jars = os.pathsep.join(str(jar) for jar in downloads.maven_jars(downloads.KAFKA))
    if certificate is None:
        authority = Authority(folder / "tls")
        certificate, ca = authority.issue("kafka"), authority.ca
    assert ca is not None, "give the authority of the certificate, too"
    ports = free_ports(3)
    password = f"Endpoint=sb://{LOOPBACK}/;SharedAccessKeyName=my-feast;SharedAccessKey={secret(NAME)}"
    admin_password = secret("kafka-admin")
    server = write_private(
        folder / "server.properties", _settings(folder, ports, certificate, password, admin_password)
    )
    logging = folder / "log4j2.properties"
    logging.write_text(LOGGING)
    java = ["java", *HEAP, f"-Dlog4j2.configurationFile={logging}", "-cp", jars]
    storage = ["kafka.tools.StorageTool", "format", "--standalone", "--config", str(server)]
    cluster = ["--cluster-id", uuid.uuid4().hex[:22]]
    subprocess.run([*java, *storage, *cluster], check=True, capture_output=True, timeout=300)
    with Programs(folder) as programs:
        programs.start(NAME, [*java, "kafka.Kafka", str(server)], environment=dict(os.environ))
        addresses = [f"{LOOPBACK}:{port}" for port in ports]
        broker = Kafka(addresses[0], addresses[1], ca, USER, password, admin_password, programs)
        programs.wait_until(broker.answers, what="Kafka")
        yield broker


def _settings(folder: Path, ports: list[int], certificate: Certificate, password: str, admin_password: str) -> str:
    keys = write_private(folder / "kafka.pem", certificate.key.read_text() + certificate.certificate.read_text())
    plain, tls, controller = (f"{LOOPBACK}:{port}" for port in ports)
    users = {"admin": admin_password, USER: password}
    login = " ".join(f'user_{name}="{value}"' for name, value in users.items())
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"SASL_PLAINTEXT://{plain},SASL_SSL://{tls},CONTROLLER://{controller}",
        "advertised.listeners": f"SASL_PLAINTEXT://{plain},SASL_SSL://{tls}",
        "listener.security.protocol.map": "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": controller,
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keys),
    }
    for listener in ("sasl_plaintext", "sasl_ssl"):
        name = f"listener.name.{listener}.plain.sasl.jaas.config"
        settings[name] = f'{PLAIN} required username="admin" password="{admin_password}" {login};'
    return "".join(f"{name}={value}\n" for name, value in settings.items())


LOGGING = """rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
"""
