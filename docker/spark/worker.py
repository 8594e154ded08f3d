"""Becomes a Spark worker that is known by its address on the network of its master: `worker.py spark://host:port`.

A worker is in both networks, and its name leads to either address; master, drivers and other workers can all reach this one.
"""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import urlsplit

CONNECT_SECONDS = 10.0
WORKER = "org.apache.spark.deploy.worker.Worker"


def main() -> None:
    """Cores and memory are those of SPARK_WORKER_CORES and SPARK_WORKER_MEMORY. OSError when no master answers."""
    master = sys.argv[1]
    parts = urlsplit(master)
    with socket.create_connection((parts.hostname, parts.port), timeout=CONNECT_SECONDS) as way:
        address = way.getsockname()[0]
    os.execvp("spark-class", ["spark-class", WORKER, "--host", address, "--webui-port", "8081", master])


if __name__ == "__main__":
    main()
