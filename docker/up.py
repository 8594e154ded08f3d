"""`make up`: makes the secrets, builds, starts everything, waits until all is healthy, and says where things are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from make_secrets import make_secrets

CHECKOUT = Path(__file__).resolve().parents[1]
# Compose knows both variables, too: a second stack beside the first has a name, secrets and ports of its own.
SECRETS = CHECKOUT / (os.environ.get("MY_FEAST_SECRETS") or ".local/cluster/secrets")
PROJECT = os.environ.get("COMPOSE_PROJECT_NAME") or "my-feast"
OLDEST_COMPOSE = (2, 24)
WAIT_SECONDS = "900"
BUILT = ("airflow-init", "spark-master")

READY = """
Everything is healthy.

  Airflow     {airflow}   user admin, password {password}
  Spark       {spark}
  HDFS        {hdfs}

The first two days of 2013, from a shell and then in Airflow:

  docker compose exec airflow-scheduler my-feast replay --start 2013-01-01 --end 2013-01-03   # weather into the event stream
  Airflow: run feature_registry; land_flights and land_weather with First day 2013-01-01 and End 2013-01-03; then each table
  docker compose exec airflow-scheduler my-feast status

make logs shows what happens; make down stops everything and keeps the data, make down DATA=1 removes it.
"""


def main() -> int:
    """0 when everything is healthy; 1 with what is missing or what to look at."""
    try:
        _check_secrets_name()
        _check_machine()
        fresh = not (SECRETS / "values.json").exists()
        if fresh:
            _check_no_volumes()
        spark = f"http://127.0.0.1:{os.environ.get('MY_FEAST_SPARK_PORT', '8081')}"
        values = make_secrets(SECRETS.parent, spark_ui=spark)
        if fresh:
            print(f"Secrets made in {SECRETS}", flush=True)
        _compose("build", *BUILT)
        _compose("up", "--detach", "--wait", "--wait-timeout", WAIT_SECONDS)
    except RuntimeError as error:
        print(f"up: {error}", file=sys.stderr)
        return 1
    airflow = f"http://127.0.0.1:{os.environ.get('MY_FEAST_AIRFLOW_PORT', '8080')}"
    hdfs = f"http://127.0.0.1:{os.environ.get('MY_FEAST_HDFS_PORT', '9870')}"
    print(READY.format(airflow=airflow, password=values["admin_password"], spark=spark, hdfs=hdfs))
    return 0


def _check_machine() -> None:
    """Docker, its engine, and a Compose that knows what the file uses."""
    if shutil.which("docker") is None:
        raise RuntimeError(
            "docker is not on PATH. Without it: `make run`, or `make test-cluster`, which needs no Docker."
        )
    version = _answer("compose", "version", "--short")
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found < OLDEST_COMPOSE:
        wanted = ".".join(map(str, OLDEST_COMPOSE))
        raise RuntimeError(f"Compose {wanted} or newer is needed, found {version or 'none'} (docker compose version).")
    if not _answer("version", "--format", "{{.Server.Version}}"):
        raise RuntimeError(
            "the Docker engine does not answer (docker version). Is it started, and may this user use it?"
        )


def _check_secrets_name() -> None:
    """The authority's certificate lies beside the folder of secrets, which is where docker-compose.yaml looks."""
    if SECRETS.name != "secrets":
        raise RuntimeError(f"MY_FEAST_SECRETS: expected a folder named secrets, found {SECRETS}.")


def _check_no_volumes() -> None:
    """New secrets do not open old data: PostgreSQL keeps the password of its first start."""
    kept = _answer("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
    if kept:
        raise RuntimeError(
            f"{SECRETS} is gone, and with it the passwords of {', '.join(sorted(kept))}. Put it back, or remove that data: "
            f"docker volume rm {' '.join(sorted(kept))}"
        )


def _answer(*arguments: str) -> str:
    """What docker says; empty when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, cwd=CHECKOUT)
    return done.stdout.strip() if done.returncode == 0 else ""


def _compose(*arguments: str) -> None:
    done = subprocess.run(["docker", "compose", *arguments], check=False, cwd=CHECKOUT)
    if done.returncode:
        raise RuntimeError(
            f"`docker compose {' '.join(arguments)}` ended with {done.returncode}. See above, `docker compose ps --all` and "
            "`make logs`."
        )


if __name__ == "__main__":
    sys.exit(main())
