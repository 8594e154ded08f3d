"""Healthchecks of the images `airflow` and `spark`; ends with 0 when the service does its work, else says what is wrong.

healthy.py airflow api-server|scheduler|dag-processor|triggerer
healthy.py spark master|worker
healthy.py page URL
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

SECONDS = 5.0
MASTER_PAGE = "http://spark-master:8080/json/"
WORKER_PAGE = "http://127.0.0.1:8081/json/"
# A proxy of the surroundings has no business between containers.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def airflow(component: str) -> str:
    """The API server knows Airflow's database; of the others it knows the latest heartbeat."""
    host = "127.0.0.1" if component == "api-server" else "airflow-api-server"
    health = page(f"http://{host}:8080/api/v2/monitor/health")
    part = "metadatabase" if component == "api-server" else component.replace("-", "_")
    status = health.get(part, {}).get("status")
    return "" if status == "healthy" else f"{part}: expected healthy, found {status}"


def spark(role: str) -> str:
    """A master is alive; a worker is one that its master believes to be alive."""
    master = page(MASTER_PAGE)
    if role == "master":
        return "" if master["status"] == "ALIVE" else f"the master is {master['status']}"
    own = page(WORKER_PAGE)["id"]
    states = {worker["id"]: worker["state"] for worker in master["workers"]}
    return "" if states.get(own) == "ALIVE" else f"the master knows {own} as {states.get(own)}"


def answers(url: str) -> str:
    """Whatever it says."""
    page(url)
    return ""


def page(url: str) -> Any:
    """The JSON at a URL; OSError when it does not answer with success."""
    with DIRECT.open(url, timeout=SECONDS) as answer:
        return json.load(answer)


def main() -> int:
    """Ask; 0 when healthy, 1 when not, 2 for arguments that nobody knows."""
    kind, what = sys.argv[1:3]
    checks = {"airflow": airflow, "spark": spark, "page": answers}
    if kind not in checks:
        sys.stderr.write(f"{kind}: expected one of {', '.join(checks)}\n")
        return 2
    try:
        trouble = checks[kind](what)
    except (OSError, ValueError, LookupError) as error:
        trouble = f"{type(error).__name__}: {error}"
    if trouble:
        sys.stderr.write(f"{what}: {trouble}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
