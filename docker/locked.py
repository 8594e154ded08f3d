"""Prints a part of requirements.lock, hashes and all: `locked.py LOCK --only NAME...` or `--without-development REQUIREMENTS`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DEVELOPMENT = "# Development"


def main() -> int:
    """Print the chosen entries; 1 when a name is not in the lock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--without-development", type=Path, metavar="REQUIREMENTS")
    told = parser.parse_args()
    found = entries(told.lock.read_text(encoding="utf-8"))
    left_out = development(told.without_development.read_text(encoding="utf-8")) if told.without_development else set()
    missing = sorted((set(told.only) | left_out) - found.keys())
    if missing:
        sys.stderr.write(f"{told.lock}: expected {', '.join(missing)}, found no such package. Run `make lock`.\n")
        return 1
    wanted = set(told.only) or found.keys() - left_out
    sys.stdout.write("".join(text for name, text in found.items() if name in wanted))
    return 0


def entries(lock: str) -> dict[str, str]:
    """Package -> its lines in the lock: a pin, or one per Python version, and one hash per line."""
    found: dict[str, str] = {}
    name = ""
    for line in lock.splitlines(keepends=True):
        if line.startswith("#") or not line.strip():
            continue
        if not line[0].isspace():
            name = _name(line)
            found.setdefault(name, "")
        found[name] += line
    return found


def development(requirements: str) -> set[str]:
    """What stands below the heading `# Development` of requirements.txt: nothing that runs needs it."""
    lines = requirements.partition(f"\n{DEVELOPMENT}\n")[2].splitlines()
    return {_name(line) for line in lines if line.strip() and not line.startswith("#")}


def _name(line: str) -> str:
    match = NAME.match(line)
    if match is None:
        raise ValueError(f"no package name in {line!r}")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


if __name__ == "__main__":
    sys.exit(main())
