"""The package as a wheel, for a Python wheel task on Databricks: the same file for the same code, without a build tool.

`python -m spark_jobs.wheel FOLDER` writes it there and prints its path.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

from spark_jobs.definition import COMPUTE_VERSION

DISTRIBUTION = "my_feast_spark_jobs"
"""The distribution's name: `package_name` of a python_wheel_task."""

ENTRY_POINT = "compute"
"""Its one entry point: `entry_point` of a python_wheel_task. See `spark_jobs.wheel_task`."""

PARAMETER = "order"
"""Its one named parameter: the URI of an order."""

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_ENTRY_POINTS = f"[console_scripts]\n{ENTRY_POINT} = spark_jobs.wheel_task:main\n"
_WHEEL = "Wheel-Version: 1.0\nGenerator: spark_jobs.wheel\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def version() -> str:
    """COMPUTE_VERSION and a hash of every file, such as `1.0+3f2a9c0b71de`: other code never has the same version."""
    content = hashlib.sha256()
    for name, data in sorted(_code().items()):
        content.update(f"{name}\0{len(data)}\0".encode() + data)
    return f"{COMPUTE_VERSION}.0+{content.hexdigest()[:12]}"


def file_name() -> str:
    """The name of the wheel's file."""
    return f"{DISTRIBUTION}-{version()}-py3-none-any.whl"


def build_wheel(folder: Path) -> Path:
    """Writes the wheel into a folder that exists and returns its path; the same bytes for the same code."""
    information = f"{DISTRIBUTION}-{version()}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version()}\nRequires-Python: >=3.11\n"
    files = _code() | {
        f"{information}/METADATA": metadata.encode(),
        f"{information}/WHEEL": _WHEEL.encode(),
        f"{information}/entry_points.txt": _ENTRY_POINTS.encode(),
    }
    record = f"{information}/RECORD"
    lines = [*(_recorded(name, data) for name, data in files.items()), f"{record},,"]
    target = folder / file_name()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (files | {record: "".join(f"{line}\n" for line in lines).encode()}).items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_LONG_AGO), data, zipfile.ZIP_DEFLATED)
    return target


def _code() -> dict[str, bytes]:
    package = Path(__file__).parent
    files = sorted(package.rglob("*.py"))
    return {f"{package.name}/{file.relative_to(package).as_posix()}": file.read_bytes() for file in files}


def _recorded(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}"


if __name__ == "__main__":
    chosen = Path(sys.argv[1])
    chosen.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{build_wheel(chosen)}\n")
