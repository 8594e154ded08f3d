"""How to start the compute application: settings for a quick start on one machine, and the package as one file."""

from __future__ import annotations

import zipfile
from pathlib import Path

_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)

APPLICATION = Path(__file__).parent / "compute.py"
"""The application file for spark-submit; its one argument is the URI of an order."""


def quick_conf() -> dict[str, str]:
    """spark-submit settings for a driver on this machine: quick to start, sized for few and small partitions."""
    return {
        # Most of a short job is class loading and cold code: the first compiler alone and the simplest collector win.
        "spark.driver.extraJavaOptions": _JVM,
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.eventLog.enabled": "false",
        "spark.log.level": "WARN",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }


def package_zip(target: Path) -> Path:
    """Writes this package as a zip archive for `--py-files`, the same bytes for the same code, and returns the path."""
    package = Path(__file__).parent
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*.py")):
            entry = zipfile.ZipInfo(f"{package.name}/{file.relative_to(package).as_posix()}", date_time=_LONG_AGO)
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return target
