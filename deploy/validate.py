"""Checks deploy/ without a cloud: `uv run --no-project --with python-hcl2==8.1.4 --with pyyaml==6.0.3 deploy/validate.py CACHE`.

Terraform: every resource, argument, block and reference against the providers' schemas (deploy/schemas.py). The bundle:
its job against databricks-bundles, Databricks' own model. Packages come from PyPI once, into CACHE. Exit code 1 with
every finding.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from schemas import Block, Provider, Resource

HERE = Path(__file__).parent
PACKAGES = {
    "azurerm": "cdktf-cdktf-provider-azurerm==14.23.1",  # azurerm 4.55
    "databricks": "cdktf-cdktf-provider-databricks==15.16.1",
    "bundles": "databricks-bundles==1.22.1",
}
NOT_CHECKED = ("random",)
_REFERENCE = re.compile(r"\b(data\.)?((?:azurerm|databricks)_\w+)\.(\w+)(?:\[[^\]]*\])?\.(\w+)")
_VARIABLE = re.compile(r"\bvar\.(\w+)")
_LOCAL = re.compile(r"\blocal\.(\w+)")


def main(cache: Path) -> int:
    """Prints what was checked and what is wrong."""
    folders = {name: _package(cache, name) for name in PACKAGES}
    module = _read_module(HERE / "azure")
    providers = {name: Provider(folders[name], name) for name in ("azurerm", "databricks")}
    findings = [*_resources(module, providers), *_references(module, providers), *_bundle(folders["bundles"])]
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    checked = sum(len(each) for kind in ("resource", "data") for each in module.get(kind, {}).values())
    sys.stdout.write(f"deploy/azure: {checked} resources; deploy/databricks: 1 bundle; {len(findings)} findings\n")
    return 1 if findings else 0


def _package(cache: Path, name: str) -> Path:
    """The unpacked package; fetched by uv from PyPI when it is not there."""
    folder = cache / PACKAGES[name].replace("==", "-")
    if not folder.exists():
        aside = folder.with_suffix(".part")
        command = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(aside)]
        subprocess.run([*command, PACKAGES[name]], check=True)  # noqa: S603 - uv with constants
        aside.rename(folder)
    return folder


def _read_module(folder: Path) -> dict[str, Any]:
    """All files as one: block kind -> type -> name -> body, and `text`."""
    module: dict[str, Any] = {"resource": {}, "data": {}, "variable": set(), "local": set(), "text": ""}
    for file in sorted(folder.glob("*.tf")):
        text = file.read_text()
        module["text"] += text
        parsed = _plain(hcl2.loads(text))
        for kind in ("resource", "data"):
            for entry in parsed.get(kind, []):
                for type_name, named in entry.items():
                    for name, body in named.items():
                        module[kind].setdefault(type_name, {})[name] = body
        module["variable"] |= {name for entry in parsed.get("variable", []) for name in entry}
        module["local"] |= {name for entry in parsed.get("locals", []) for name in entry}
    return module


def _plain(value: Any) -> Any:
    """Without the quotes and marks that the parser leaves in names."""
    if isinstance(value, dict):
        return {str(key).strip('"'): _plain(each) for key, each in value.items() if not str(key).startswith("__")}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _resources(module: dict[str, Any], providers: dict[str, Provider]) -> Iterator[str]:
    for kind in ("resource", "data"):
        for type_name, named in module[kind].items():
            provider = type_name.partition("_")[0]
            if provider in NOT_CHECKED:
                continue
            schema = providers[provider].resource(type_name, data=kind == "data")
            for name, body in named.items():
                if schema is None:
                    yield f"{kind} {type_name}.{name}: no such type in {PACKAGES[provider]}"
                else:
                    yield from _block(f"{type_name}.{name}", body, schema.top, schema)


def _block(where: str, body: dict[str, Any], block: Block, schema: Resource) -> Iterator[str]:
    given = {
        name: value
        for name, value in body.items()
        if name not in {"count", "for_each", "depends_on", "lifecycle", "provider"}
    }
    for name in sorted(set(given) - set(block.arguments)):
        yield f"{where}: no argument {name!r}; known are {', '.join(sorted(block.arguments))}"
    for name in sorted(block.required - set(given)):
        yield f"{where}: {name!r} is required"
    for name, value in given.items():
        nested = block.arguments.get(name)
        for each in value if isinstance(value, list) else [value]:
            if nested and isinstance(each, dict):
                yield from _block(f"{where}.{name}", each, schema.block(nested), schema)


def _references(module: dict[str, Any], providers: dict[str, Provider]) -> Iterator[str]:
    code = "\n".join(line for line in module["text"].splitlines() if not line.lstrip().startswith("#"))
    for data, type_name, name, attribute in set(_REFERENCE.findall(code)):
        kind = "data" if data else "resource"
        schema = providers[type_name.partition("_")[0]].resource(type_name, data=bool(data))
        if name not in module[kind].get(type_name, {}):
            yield f"{data}{type_name}.{name}: referred to, but not defined"
        elif schema is not None and attribute not in schema.attributes:
            yield f"{data}{type_name}.{name}.{attribute}: {type_name} has no such attribute"
    for name in sorted(set(_VARIABLE.findall(code)) - module["variable"]):
        yield f"var.{name}: not declared"
    for name in sorted(set(_LOCAL.findall(code)) - module["local"]):
        yield f"local.{name}: not defined"
    for name in sorted(module["variable"] - set(_VARIABLE.findall(code))):
        yield f"var.{name}: declared, but not used"


def _bundle(package: Path) -> Iterator[str]:
    sys.path.insert(0, str(package))
    from databricks.bundles.jobs import Job

    folder = HERE / "databricks"
    bundle = yaml.safe_load((folder / "databricks.yml").read_text())
    jobs: dict[str, Any] = {}
    for pattern in bundle["include"]:
        for file in folder.glob(pattern):
            jobs |= yaml.safe_load(file.read_text())["resources"]["jobs"]
    for name, body in jobs.items():
        try:
            understood = Job.from_dict(body).as_dict()
        except Exception as error:  # noqa: BLE001 - the model tells in many ways
            yield f"bundle: job {name}: {error}"
            continue
        yield from (f"bundle: job {name}: {path} is not understood" for path in _lost(body, understood))
    used = set(re.findall(r"\$\{var\.(\w+)\}", "".join(file.read_text() for file in folder.rglob("*.yml"))))
    for name in sorted(used ^ set(bundle["variables"])):
        yield f"bundle: variable {name}: used and declared do not agree"


def _lost(given: Any, understood: Any, path: str = "") -> Iterator[str]:
    """What the model has dropped without a word."""
    if isinstance(given, dict):
        for name, value in given.items():
            if not isinstance(understood, dict) or name not in understood:
                yield f"{path}.{name}".lstrip(".")
            else:
                yield from _lost(value, understood[name], f"{path}.{name}")
    elif isinstance(given, list):
        for each, other in zip(given, understood, strict=True):
            yield from _lost(each, other, f"{path}[]")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
