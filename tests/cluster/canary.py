"""Looks for secrets where they must not be: files, Airflow's database, and the command lines of all processes."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.services.postgres import Postgres

SECONDS = 0.5


def forms(secret: str) -> set[bytes]:
    """A secret as it may be written: plain, in a URL, in base64."""
    return {secret.encode(), quote(secret, safe="").encode(), base64.b64encode(secret.encode())}


def found_in(text: bytes, secrets: Mapping[str, str]) -> list[str]:
    """Names of the secrets that a text holds."""
    return [name for name, secret in secrets.items() if any(form in text for form in forms(secret))]


def found_in_files(folder: Path, secrets: Mapping[str, str], *, but: Iterable[Path] = ()) -> list[str]:
    """Every file below a folder that holds a secret, but those that are there for it."""
    kept = {path.resolve() for path in but}
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [
        f"{path}: {name}" for path in files if path.resolve() not in kept for name in found_in(_bytes(path), secrets)
    ]


def found_in_database(database: Postgres, secrets: Mapping[str, str]) -> list[str]:
    """Every table of Airflow's database (XCom, rendered fields, logs, connections, serialized DAGs) that holds a secret."""
    names = database.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = []
    for (table,) in names:
        rows = database.query(f'SELECT t::text FROM "{table}" t')
        found += [f"{table}: {name}" for row in rows for name in found_in(str(row[0]).encode(), secrets)]
    return found


class CommandLines:
    """Reads the command lines of all processes of this machine, twice a second, and keeps what held a secret."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.found: set[str] = set()
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="command lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    def _watch(self) -> None:
        while not self._over.wait(SECONDS):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                line = _bytes(process)
                if line and line not in self.seen:
                    self.seen.add(line)
                    self.found |= {f"{line!r}: {name}" for name in found_in(line, self.secrets)}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # a process or a temporary file that has gone
        return b""
