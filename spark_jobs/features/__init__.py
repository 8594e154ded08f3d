"""The feature tables: one module each with `TABLE` and `transform`, found by file name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from spark_jobs.contract import ContractError, FeatureTable
from spark_jobs.definition import hash_definition

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["definition_hash", "feature_tables", "load_transform"]


def feature_tables() -> dict[str, FeatureTable]:
    """Every feature table by name, sorted; does not import pyspark.

    Modules whose name begins with an underscore are no tables. Raises ContractError when a module has no `TABLE` or
    no `transform`, when TABLE.name is not the file's name, or when transform's arguments are not the table's inputs.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: _table(name) for name in names}


def load_transform(name: str) -> Callable[..., DataFrame]:
    """The table's transform, to be called with one keyword argument per input: transform(flights=frame)."""
    _table(name)
    transform: Callable[..., DataFrame] = _module(name).transform
    return transform


def definition_hash(name: str) -> str:
    """16 hex digits that change when the table's rows could: see `spark_jobs.definition`."""
    return hash_definition(_module(name).__name__, _table(name))


def _table(name: str) -> FeatureTable:
    module = _module(name)
    where = f"{module.__name__}"
    table, transform = getattr(module, "TABLE", None), getattr(module, "transform", None)
    if not isinstance(table, FeatureTable) or not inspect.isfunction(transform):
        raise ContractError(f"{where}: a feature file defines TABLE = FeatureTable(...) and a function transform")
    if table.name != name:
        raise ContractError(
            f"{where}: TABLE.name is {table.name!r}, expected {name!r}: the file's name is the table's name"
        )
    arguments, inputs = list(inspect.signature(transform).parameters), [each.raw.name for each in table.inputs]
    if sorted(arguments) != sorted(inputs):
        raise ContractError(f"{where}: transform takes {arguments}, expected one argument per input: {inputs}")
    return table


def _module(name: str) -> ModuleType:
    module_name = f"{__name__}.{name}"
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        known = ", ".join(module.name for module in pkgutil.iter_modules(__path__))
        raise ContractError(f"no feature table {name!r}; known are {known}") from None
