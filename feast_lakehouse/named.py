"""Functions that a setting names by `module.function`: importable where Feast runs, and called when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from feast_lakehouse.errors import DataError

Function = TypeVar("Function", bound=Callable[..., Any])


def from_origin(origin: str) -> Callable[[Function], Function]:
    """Marks a function that gives credentials with what an error shall tell people to check, such as "connection x"."""

    def mark(function: Function) -> Function:
        function.__dict__["origin"] = origin
        return function

    return mark


def origin_of(function: object) -> str:
    """What `from_origin` said of a function; empty when nothing."""
    return str(getattr(function, "origin", ""))


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
