"""Logging in to Event Hubs or Kafka: client settings from an Airflow connection, and errors that say what to check."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException

from feast_lakehouse.errors import DataError, LakehouseError, TransportError
from feast_lakehouse.storage_errors import redacted

if TYPE_CHECKING:
    from feature_pipelines.connection_text import Connection

log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_SECONDS: Final = 20.0
"""How long a broker may take to answer at all. A refusal is told at once.

Twice socket.timeout.ms: librdkafka notices only then that a network has dropped a connection without a word.
"""

SLICE_SECONDS: Final = 1.0
SECRETS: Final = ("password", "secret", "token", "pem", "key")

ADVISED_SETTINGS: Final[Mapping[str, Any]] = {
    # Azure drops connections that are idle for four minutes, without a word.
    "connections.max.idle.ms": 180_000,
    "socket.keepalive.enable": True,
}
"""What Microsoft advises for Event Hubs; a connection may say otherwise."""

OWN_SETTINGS: Final[Mapping[str, Any]] = {
    "client.id": "my-feast",
    "allow.auto.create.topics": False,
    "log_level": 2,  # what goes wrong is told by the errors below, once
    "reconnect.backoff.max.ms": 1000,
    "socket.timeout.ms": 10_000,
}
"""What this project needs whatever a connection says."""

REFUSED: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - how librdkafka names its own errors
        KafkaError._SSL,  # noqa: SLF001
        KafkaError._INVALID_ARG,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG,
        KafkaError.POLICY_VIOLATION,
    }
)
"""Errors that stay until somebody changes something."""

NO_ANSWER: Final = (
    *("Could not connect to server", "Could not resolve host", "timed out", "Timeout was reached"),
    *("failed: Local: Timed out", "failed: Local: Broker transport failure"),
)
"""How a failed login reads when the broker, or the server that gives tokens, did not answer."""

MAKING_CHECK: Final = "the number of partitions, and what the cluster allows a topic"

CHECKS: Final[Mapping[int, str]] = {
    KafkaError._SSL: "security.protocol, ssl.ca.location and the broker's certificate",  # noqa: SLF001
    KafkaError._INVALID_ARG: "the names and values in its extra",  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART: "the topic's name in the environment's file, and whether it has been made",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "whether its login may read the topic",
    KafkaError.TOPIC_EXCEPTION: "the topic's name in the environment's file (letters, digits, '.', '_' and '-')",
    KafkaError.INVALID_PARTITIONS: MAKING_CHECK,
    KafkaError.INVALID_REPLICATION_FACTOR: MAKING_CHECK,
    KafkaError.INVALID_CONFIG: MAKING_CHECK,
    KafkaError.POLICY_VIOLATION: MAKING_CHECK,
    KafkaError._TRANSPORT: "bootstrap.servers, the network, and security.protocol (a wrong one looks like this)",  # noqa: SLF001
}
LOGIN_CHECK: Final = "its login and password (Event Hubs: $ConnectionString and the connection string) or its identity, and sasl.mechanism"
ADDRESS_CHECK: Final = CHECKS[KafkaError._TRANSPORT]  # noqa: SLF001


@dataclass
class Link:
    """The way to a cluster: the settings of its clients, and what librdkafka said went wrong on it."""

    connection: Connection
    settings: Mapping[str, Any] = field(repr=False)
    heard: KafkaError | None = None

    @classmethod
    def of(cls, connection: Connection, bootstrap: str | None) -> Link:
        """`bootstrap` (host:port,…) comes before the connection's own address. Raises DataError when there is neither."""
        return cls(connection, client_settings(connection, bootstrap))

    def client(self, kind: Callable[[dict[str, Any]], T], **settings: Any) -> T:
        """A client of this link. Raises DataError for settings that librdkafka does not take."""
        own = {name.replace("_", "."): value for name, value in settings.items()}
        spoken = {"error_cb": self._hear, "logger": log}
        try:
            return kind({**ADVISED_SETTINGS, **self.settings, **OWN_SETTINGS, **own, **spoken})
        except KafkaException as error:
            raise self.error(error.args[0], "its settings are refused") from None

    def _hear(self, error: KafkaError) -> None:
        # One that somebody has to act on is not forgotten for one that may pass, nor a reason for its consequence.
        if self.heard is None or not (is_refusal(self.heard) or error.code() == KafkaError._ALL_BROKERS_DOWN):  # noqa: SLF001
            self.heard = error

    def patiently(self, call: Callable[[float], T], serve: Callable[[], object], *, what: str) -> T:
        """`call` with a short timeout, then longer ones while the broker does not answer; about CONNECT_SECONDS.

        `serve` lets librdkafka say what went wrong meanwhile. A refusal is raised at once as DataError, silence as
        TransportError.
        """
        deadline, turn = time.monotonic() + CONNECT_SECONDS, SLICE_SECONDS
        while True:
            try:
                return call(turn)
            except KafkaException as exception:
                error = exception.args[0]
            serve()
            self.raise_refusal(what)
            left = deadline - time.monotonic()
            if is_refusal(error) or left <= 0:
                raise self.error(self.heard or error, what)
            # An answer after its turn is lost, and librdkafka may cut the connection for it, even during the login: a
            # slow broker needs a longer turn, not one more.
            turn = max(SLICE_SECONDS, min(2 * turn, left))

    def raise_refusal(self, what: str) -> None:
        """Raises DataError if a login or a certificate was refused: librdkafka would try for ever."""
        if self.heard is not None and is_refusal(self.heard):
            raise self.error(self.heard, what)

    def error(self, error: KafkaError, what: str) -> LakehouseError:
        """The error in this project's words, without any secret; its class says who acts."""
        kind = DataError if is_refusal(error) else TransportError
        check = CHECKS.get(error.code()) or (LOGIN_CHECK if error.code() in REFUSED else ADDRESS_CHECK)
        said = self._without_secrets(error.str())
        return kind(f"{self.connection} ({self.address}): {what}: {said}. Check {check}.")

    @property
    def address(self) -> str:
        """Where the brokers are, host:port and so on."""
        return str(self.settings["bootstrap.servers"])

    def _without_secrets(self, text: str) -> str:
        secrets = [value for name, value in self.settings.items() if any(word in name for word in SECRETS)]
        return redacted(text, (str(secret) for secret in secrets)).rstrip(". ")


def is_refusal(error: KafkaError) -> bool:
    """Whether trying again gives the same answer. A broker or server of tokens that does not answer is no refusal."""
    return error.code() in REFUSED and not any(words in error.str() for words in NO_ANSWER)


def client_settings(connection: Connection, bootstrap: str | None) -> dict[str, Any]:
    """Settings of librdkafka: the connection's extra, its login and password, and the address.

    With SASL but no mechanism it is PLAIN when there is a login, else OAUTHBEARER. OAUTHBEARER without a method of
    librdkafka's own asks Microsoft Entra for tokens: see feature_pipelines.azure_identity for the identity.
    """
    settings = {name: value for name, value in connection.extra.items() if "." in name}
    address = bootstrap or settings.get("bootstrap.servers") or _host(connection)
    if not address:
        raise DataError(
            f"{connection}: expected bootstrap.servers in its extra, or `bootstrap` in the environment's file."
        )
    settings["bootstrap.servers"] = address
    if not str(settings.get("security.protocol", "")).upper().startswith("SASL"):
        return settings
    mechanism = settings.pop("sasl.mechanisms", None) or settings.get("sasl.mechanism")
    settings["sasl.mechanism"] = mechanism or ("PLAIN" if connection.login else "OAUTHBEARER")
    if settings["sasl.mechanism"] == "OAUTHBEARER":
        from feature_pipelines.streams.tokens import tokens

        return (
            settings if "sasl.oauthbearer.method" in settings else settings | {"oauth_cb": tokens(connection, address)}
        )
    login = {"sasl.username": connection.login, "sasl.password": connection.password}
    return settings | {name: value for name, value in login.items() if value}


def _host(connection: Connection) -> str | None:
    return f"{connection.host}:{connection.port or 9093}" if connection.host else None
