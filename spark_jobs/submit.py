"""How to start the compute application: settings for a quick start on one machine, and the package as one file."""

from __future__ import annotations

import zipfile
from pathlib import Path

_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off -Xlog:class+path=off"
_READ = f"{_QUIET} -XX:SharedArchiveFile="
_LONG_AGO = (1980, 1, 1, 0, 0, 0)

APPLICATION = Path(__file__).parent / "compute.py"
"""The application file for spark-submit; its one argument is the URI of an order."""


WARM_UP = Path(__file__).parent / "warm_up.py"
"""The application, without arguments, to run once with `recording_conf`."""


def quick_conf(archive: Path | None = None) -> dict[str, str]:
    """spark-submit settings for a driver on this machine: quick to start, sized for few and small partitions.

    With a class archive from `recording_conf` a start costs a third less CPU; Java passes over an archive that is
    missing or was made by another Java or Spark.
    """
    return {
        # Most of a short job is class loading and cold code: the first compiler alone and the simplest collector win.
        "spark.driver.extraJavaOptions": _JVM if archive is None else f"{_JVM} {_READ}{archive}",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.eventLog.enabled": "false",
        "spark.log.level": "WARN",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }


def cluster_conf() -> dict[str, str]:
    """spark-submit settings for a driver beside Airflow whose executors are on a standalone cluster.

    Cores and memory are the environment's to say; without `spark.cores.max` an application would take the whole cluster.
    """
    return {
        "spark.driver.extraJavaOptions": _JVM,
        "spark.cores.max": "2",
        "spark.submit.callSystemExitOnMainExit": "true",
        # Several drivers on one machine; the page of the application on the master leads to it.
        "spark.ui.port": "0",
        "spark.ui.killEnabled": "false",
        "spark.log.level": "WARN",
        # An executor that is silent for a minute is lost, and its tasks run elsewhere; a task has four lives.
        "spark.network.timeout": "60s",
        "spark.executor.heartbeatInterval": "10s",
        "spark.task.maxFailures": "4",
        # Two attempts of one task at a time would write the same file.
        "spark.speculation": "false",
        # spark_jobs.patience: without any executor for so long an application fails instead of waiting for ever.
        "spark.myFeast.executorPatience": "10m",
    }


def recording_conf(archive: Path) -> dict[str, str]:
    """quick_conf for a run of WARM_UP that leaves the class archive at the path (about 200 MB, some 30 s of CPU)."""
    return quick_conf() | {"spark.driver.extraJavaOptions": f"{_JVM} {_QUIET} -XX:ArchiveClassesAtExit={archive}"}


def package_zip(target: Path) -> Path:
    """Writes this package as a zip archive for `--py-files`, the same bytes for the same code, and returns the path."""
    package = Path(__file__).parent
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*.py")):
            entry = zipfile.ZipInfo(f"{package.name}/{file.relative_to(package).as_posix()}", date_time=_LONG_AGO)
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return target
