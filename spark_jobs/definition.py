"""The definition hash: what a table's rows depend on besides its input rows."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from spark_jobs.contract import Column, ContractError, FeatureTable

COMPUTE_VERSION = 1
"""Raised by hand when compute itself starts to write other rows from the same transform."""

_CONTRACTS = frozenset({"spark_jobs.contract", "spark_jobs.raw"})
_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PROSE = ("description", "unit")


def hash_definition(module_name: str, table: FeatureTable) -> str:
    """16 hex digits over the module's code, the modules of ours that it imports, the contracts and COMPUTE_VERSION.

    Comments, docstrings, formatting, descriptions, units, owner and ttl are not in it: they change no row. It is the
    same under every Python version that parses the code alike. Contracts enter by value, not as code.
    """
    document = {
        "compute_version": COMPUTE_VERSION,
        "code": {name: _shape(_code(name)) for name in sorted(_closure(module_name))},
        "table": _contract(table),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _contract(table: FeatureTable) -> dict[str, Any]:
    inputs = [
        {
            "raw": each.raw.name,
            "columns": [_column(column) for column in each.raw.columns],
            "lookback_days": each.lookback_days,
        }
        for each in table.inputs
    ]
    return {"name": table.name, "columns": [_column(column) for column in table.columns], "inputs": inputs}


def _column(column: Column) -> dict[str, Any]:
    return {field: value for field, value in asdict(column).items() if field not in _PROSE}


def _closure(module_name: str) -> set[str]:
    """The module and every module of this package that it imports, directly or not, contracts aside."""
    found: set[str] = set()
    waiting = [module_name]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imports(_code(name)))
    return found


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (
            name for name in names if name.startswith("spark_jobs.") and name not in _CONTRACTS and _is_module(name)
        )


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is a module, not a package: the name is one of its attributes
        return False


def _code(module_name: str) -> ast.Module:
    """The module's syntax tree without docstrings and without its TABLE, which enters the hash by value."""
    tree = ast.parse(_source(module_name))
    tree.body = [node for node in tree.body if not _assigns_table(node)]
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            node.body = [each for each in node.body if not _is_text(each)]
    return tree


def _source(module_name: str) -> str:
    spec = importlib.util.find_spec(module_name)
    get_source = getattr(spec.loader, "get_source", None) if spec else None  # files and zip archives both have it
    source = get_source(module_name) if get_source else None
    if not isinstance(source, str):
        raise ContractError(f"{module_name}: its source cannot be read, so its definition has no hash")
    return source


def _assigns_table(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == "TABLE" for target in targets)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _shape(node: Any) -> Any:
    # Not ast.dump: its text differs between Python versions, and a driver may be newer than its workers.
    if isinstance(node, ast.Constant):
        return ["Constant", repr(node.value)]
    if isinstance(node, ast.AST):
        fields = {name: _shape(value) for name, value in ast.iter_fields(node) if value is not None and value != []}
        return [type(node).__name__, fields]
    if isinstance(node, list):
        return [_shape(each) for each in node]
    return repr(node)
