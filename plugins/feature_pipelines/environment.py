"""Where things are: lakes, Redis, registry and Spark of one environment; read from one file and its variables."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feast import FeatureStore

    from feast_lakehouse.delta import TableRef
    from feast_lakehouse.lakes import Lakes

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULT_REDIS = "127.0.0.1:6379"
DEFAULT_SPARK_MASTER = "local[2]"
DEFAULT_SPARK_APPLICATIONS = 2
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


class EnvironmentBroken(ValueError):
    """The environment's file is absent or incomplete: whoever runs the command has to correct it."""


@dataclass(frozen=True)
class Environment:
    """One environment: its name, its state folder, its checkout and the variables its Feast file may use.

    Nothing is read or imported before it is asked for, so building one costs nothing at DAG parse.
    """

    name: str
    home: Path
    checkout: Path
    variables: Mapping[str, str] = field(repr=False)

    @property
    def repo(self) -> Path:
        """The Feast repository: definitions.py and environments/."""
        return self.checkout / "feature_repo"

    @property
    def yaml(self) -> Path:
        """The complete Feast configuration of this environment."""
        return self.repo / "environments" / self.name / "feature_store.yaml"

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The environment's file, ${VARIABLES} filled in. Raises EnvironmentBroken with what is missing."""
        import yaml

        content = yaml.safe_load(_VARIABLE.sub(self._variable, self._text()))
        if not isinstance(content, dict) or not content.get("offline_store", {}).get("lakes"):
            raise EnvironmentBroken(f"{self.yaml}: expected a Feast configuration with offline_store.lakes")
        return content

    def _text(self) -> str:
        try:
            return self.yaml.read_text(encoding="utf-8")
        except FileNotFoundError:
            known = sorted(path.parent.name for path in self.repo.glob("environments/*/feature_store.yaml"))
            raise EnvironmentBroken(
                f"Environment {self.name!r}: expected {self.yaml}. Known environments: {', '.join(known) or 'none'}."
            ) from None

    def _variable(self, match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in self.variables:
            raise EnvironmentBroken(f"{self.yaml} uses ${{{name}}}: set this environment variable")
        return self.variables[name]

    @property
    def project(self) -> str:
        """The Feast project of this environment."""
        return str(self.config["project"])

    @property
    def spark_master(self) -> str:
        """Where the command line runs an order: `spark.master` of the environment's file. DAGs use Airflow's connection."""
        return str(self.spark.get("master", DEFAULT_SPARK_MASTER))

    @property
    def spark(self) -> Mapping[str, Any]:
        """The section `spark` of the environment's file: master, applications, conf."""
        return self.config.get("spark") or {}

    @property
    def spark_applications(self) -> int:
        """How many Spark applications may run at a time: `spark.applications`, read without filling in any variable."""
        return int((self._unresolved().get("spark") or {}).get("applications", DEFAULT_SPARK_APPLICATIONS))

    def compute(self, lake: str) -> Mapping[str, Any]:
        """Where and how the tables of a lake are computed: `compute.<lake>` of the environment's file, else Spark."""
        return _compute(self.config, lake)

    def placement(self, lake: str) -> str:
        """The `kind` of `compute`, read without filling in any variable: all that the parsing of a DAG needs to know."""
        return str(_compute(self._unresolved(), lake)["kind"])

    def _unresolved(self) -> Mapping[str, Any]:
        import yaml

        content: Mapping[str, Any] = yaml.safe_load(_VARIABLE.sub(lambda match: match[1] or match[2], self._text()))
        return content

    @cached_property
    def lakes(self) -> Lakes:
        """The lakes' roots and the options to reach them."""
        from feast_lakehouse.lakes import Lakes
        from feast_lakehouse.named import function_at

        offline = self.config["offline_store"]
        path = offline.get("credentials")
        credentials = function_at(path, setting="offline_store.credentials") if path else None
        return Lakes(offline["lakes"], offline.get("storage_options", {}), credentials)

    def raw(self, source: str) -> TableRef:
        """The raw table of a source."""
        return self.lakes.table(_raw_lake(source), f"raw/{source}")

    def rejected(self, source: str) -> TableRef:
        """The quarantine of a source: rows that may not land, each with its reason."""
        return self.lakes.table(_raw_lake(source), f"raw/{source}_rejected")

    def features(self, table: str) -> TableRef:
        """The published table of a feature table."""
        from spark_jobs.features import feature_tables

        return self.lakes.table(feature_tables()[table].lake, f"features/{table}")

    def feature_store(self) -> FeatureStore:
        """A Feast client of this environment (importing Feast takes seconds)."""
        from feast import FeatureStore

        return FeatureStore(repo_path=str(self.repo), fs_yaml_file=self.yaml)


def _compute(config: Mapping[str, Any], lake: str) -> Mapping[str, Any]:
    return {"kind": "spark", **((config.get("compute") or {}).get(lake) or {})}


def _raw_lake(source: str) -> str:
    from spark_jobs.raw import RAW_TABLES

    return RAW_TABLES[source].lake


def load() -> Environment:
    """The environment that MY_FEAST_ENVIRONMENT names (default: embedded), its state under MY_FEAST_HOME.

    Variables the Feast file expands and nobody set get their defaults here, for this process and for Feast in it.
    """
    home = Path(os.environ.setdefault("MY_FEAST_HOME", str(CHECKOUT / ".local"))).absolute()
    os.environ["MY_FEAST_HOME"] = str(home)
    os.environ.setdefault("MY_FEAST_REDIS", DEFAULT_REDIS)
    checkout = Path(os.environ.get("MY_FEAST_CHECKOUT", CHECKOUT)).absolute()
    return Environment(os.environ.get("MY_FEAST_ENVIRONMENT", "embedded"), home, checkout, dict(os.environ))


def child_variables(extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of this process with `extra` on top, for a child process such as spark-submit."""
    return {**os.environ, **extra}


def connection_variable(conn_id: str) -> str | None:
    """The text of an Airflow connection in the variables, JSON or URI; it holds secrets."""
    return os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")


def has_secrets_backend() -> bool:
    """Whether the variables configure a secrets backend of Airflow, such as Azure Key Vault."""
    return bool(os.environ.get("AIRFLOW__SECRETS__BACKEND"))


def identity_endpoint() -> str | None:
    """Where this machine asks for its managed identity's tokens, when it is no virtual machine (container apps say so)."""
    return os.environ.get("IDENTITY_ENDPOINT")


def become_hadoop_user(user: str, *, told_by: str) -> None:
    """Everything in this process, and Spark started by it, is this user on HDFS from now on (HADOOP_USER_NAME).

    Raises EnvironmentBroken when two connections say two users: HDFS clients know one per process.
    """
    _hadoop_users[told_by] = user
    if len(set(_hadoop_users.values())) > 1:
        told = ", ".join(f"{name} says {each}" for name, each in sorted(_hadoop_users.items()))
        raise EnvironmentBroken(f"HDFS knows one user per process, but {told}. Give these connections one login.")
    os.environ["HADOOP_USER_NAME"] = user


_hadoop_users: dict[str, str] = {}
