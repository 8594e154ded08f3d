"""`python -m tests.containers.compare DAY...`: the comparison with the oracle, from inside the containers' networks.

Addresses and credentials are those of the environment it runs in. Ends with 1 after one line per mismatch; the last line counts.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from feature_pipelines import environment
from feature_pipelines.connections import REDIS, connection
from feature_pipelines.streams.source import CONNECTION as EVENTS
from tests.cluster.comparison import compare
from tests.cluster.readings import readings


def main(days: list[str]) -> int:
    """0 when nothing differs."""
    redis = connection(REDIS)
    with tempfile.TemporaryDirectory() as folder:
        compared = compare(
            environment.load(),
            readings(_event_client()),
            days,
            Path(folder),
            user=redis.login,
            password=redis.password,
        )
    sys.stdout.write("".join(f"{each}\n" for each in [*compared.found, compared]))
    return 1 if compared.found else 0


def _event_client() -> dict[str, Any]:
    events = connection(EVENTS)
    settings = {name: value for name, value in events.extra.items() if "." in name}
    login = {"sasl.username": events.login, "sasl.password": events.password}
    return {"bootstrap.servers": os.environ["MY_FEAST_KAFKA"], **login, **settings}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
