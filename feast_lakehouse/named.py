"""Functions that a setting names by `module.function`: importable where Feast runs, and called when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from feast_lakehouse.errors import DataError


def function_at(path: str, *, setting: str) -> Any:
    """The function at `module.function`. Raises DataError, with the setting's name, when nothing can be called there."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(f"{setting}: expected module.function, found {path!r}: {error}") from error
    if not callable(found):
        raise DataError(f"{setting}: expected module.function, found {path!r}: {type(found).__name__}.")
    return found
