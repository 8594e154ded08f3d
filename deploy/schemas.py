"""What Terraform providers accept, read from the packages that are generated from them: no provider, no cloud, no import.

`cdktf-cdktf-provider-<name>` on PyPI holds one module per resource. The constructor of its `…Config` class has an
argument per attribute and block, without a default where it is required; its properties are what others may refer to.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

META = {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner", "connection", "timeouts", "dynamic"}


@dataclass(frozen=True)
class Block:
    """Arguments of a resource or of a block inside one: name -> name of the nested class, or empty for an attribute."""

    arguments: dict[str, str]
    required: frozenset[str]


class Resource:
    """The module of one resource type or data source."""

    def __init__(self, file: Path) -> None:
        self._classes = {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)}

    @cached_property
    def top(self) -> Block:
        """The resource's own arguments."""
        (config,) = (name for name in self._classes if name.endswith("Config") and self._is_meta(name))
        return self.block(config)

    @cached_property
    def attributes(self) -> set[str]:
        """What a reference may name first, such as `id` or `hostname`."""
        main = next(
            node
            for node in self._classes.values()
            if any(
                "TerraformResource" in ast.unparse(base) or "TerraformDataSource" in ast.unparse(base)
                for base in node.bases
            )
        )
        return {part.name for part in main.body if isinstance(part, ast.FunctionDef)}

    def block(self, name: str) -> Block:
        """A class's constructor."""
        init = next(
            part for part in self._classes[name].body if isinstance(part, ast.FunctionDef) and part.name == "__init__"
        )
        pairs = list(zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True))
        arguments = {arg.arg: self._nested(ast.unparse(arg.annotation) if arg.annotation else "") for arg, _ in pairs}
        required = frozenset(arg.arg for arg, default in pairs if default is None)
        return Block({name: nested for name, nested in arguments.items() if name not in META}, required - META)

    def _nested(self, annotation: str) -> str:
        return next((name for name in re.findall(r"\b[A-Z]\w+", annotation) if name in self._classes), "")

    def _is_meta(self, name: str) -> bool:
        return any("TerraformMetaArguments" in ast.unparse(base) for base in self._classes[name].bases)


class Provider:
    """An unpacked package."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder / f"cdktf_cdktf_provider_{name}", name
        self._read: dict[str, Resource] = {}

    def resource(self, kind: str, *, data: bool = False) -> Resource | None:
        """Of a type such as azurerm_key_vault; None when the provider has none."""
        module = ("data_" if data else "") + (kind if data else kind.removeprefix(f"{self._name}_"))
        file = self._folder / module / "__init__.py"
        if module not in self._read:
            if not file.exists():
                return None
            self._read[module] = Resource(file)
        return self._read[module]
