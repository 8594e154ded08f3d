"""Where an embedded environment lives, its ports, its secrets, and the variables every program of it is started with."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from feature_pipelines.embedded.machine import LOOPBACK, program_environment
from feature_pipelines.environment import CHECKOUT, Environment, load

USER = "admin"
CONFIGURES_AIRFLOW = ("AIRFLOW__", "AIRFLOW_CONFIG")
PRELOAD = "airflow,airflow.executors.local_executor,airflow.sdk.execution_time.supervisor,feast"


@dataclass(frozen=True)
class Settings:
    """One embedded environment: state folder, loopback ports, the Java that Spark runs on, its Feast configuration's name."""

    home: Path
    port: int
    redis_port: int
    java: Path
    name: str = "embedded"

    @property
    def url(self) -> str:
        """Of the Airflow UI and API."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def airflow_home(self) -> Path:
        """Airflow's database, configuration and task logs."""
        return self.home / "airflow"

    @property
    def database(self) -> Path:
        """Airflow's SQLite file, where Airflow puts it by itself."""
        return self.airflow_home / "airflow.db"

    def password(self) -> str:
        """Of the Airflow user `admin`; made once, kept in the state folder, readable by its owner only."""
        return self._secrets()["password"]

    def variables(self) -> dict[str, str]:
        """The whole environment of every program: this process's own without what configures another Airflow, plus ours."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURES_AIRFLOW)}
        return {**inherited, **self.own_variables()}

    def own_variables(self) -> dict[str, str]:
        """What is added: where things are, this Python and Java first, and Airflow's configuration."""
        return {
            **program_environment(self.java),
            "MY_FEAST_ENVIRONMENT": self.name,
            "MY_FEAST_HOME": str(self.home),
            "MY_FEAST_REDIS": f"{LOOPBACK}:{self.redis_port}",
            "FEAST_USAGE": "False",
            # tasks talk to the API server on loopback: never through a proxy
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), LOOPBACK, "localhost"])),
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[2]"}),
            **{f"AIRFLOW__{name.replace('.', '__').upper()}": value for name, value in self._airflow().items()},
        }

    def environment(self) -> Environment:
        """What the programs see, for this process too: where the lakes, the registry and Redis are."""
        own = self.own_variables()
        ours = ("MY_FEAST_ENVIRONMENT", "MY_FEAST_HOME", "MY_FEAST_REDIS", "FEAST_USAGE")
        os.environ.update({name: own[name] for name in ours})
        return load()

    def _airflow(self) -> dict[str, str]:
        made = self._secrets()
        return {
            "core.dags_folder": str(CHECKOUT / "dags"),
            "core.plugins_folder": str(CHECKOUT / "plugins"),
            "core.load_examples": "False",
            "core.executor": "LocalExecutor",
            "core.parallelism": "4",
            # task processes fork from one that has done the slow imports: 2-4 s instead of 8-13 s for a Feast task
            "core.mp_start_method": "forkserver",
            "core.mp_forkserver_preload": PRELOAD,
            "core.dags_are_paused_at_creation": "True",
            "core.simple_auth_manager_users": f"{USER}:admin",
            "core.fernet_key": made["fernet_key"],
            "core.execution_api_server_url": f"{self.url}/execution/",
            "api.port": str(self.port),
            "api.base_url": self.url,
            "api.secret_key": made["secret_key"],
            "api_auth.jwt_secret": made["jwt_secret"],
            "scheduler.scheduler_idle_sleep_time": "0.5",
            "dag_processor.parsing_processes": "1",
            "usage_data_collection.enabled": "False",
        }

    def _secrets(self) -> dict[str, str]:
        file = self.home / "secrets.json"
        if not file.exists():
            write_private(
                file,
                {
                    "password": secrets.token_urlsafe(12),
                    "jwt_secret": secrets.token_urlsafe(64),
                    "secret_key": secrets.token_urlsafe(32),
                    "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                },
            )
        made: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return made


def write_private(file: Path, content: dict[str, str]) -> None:
    """Write JSON that only its owner can read, from its first byte on, and whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        json.dump(content, out)
    aside.replace(file)
