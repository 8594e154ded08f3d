"""PostgreSQL for Airflow: one database, one user with a password, on TCP only."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.services import downloads
from tests.services.programs import LOOPBACK, Programs, free_port, secret, write_private

NAME = "postgres"
USER = "airflow"
DATABASE = "airflow"
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=100")


@dataclass
class Postgres:
    """A running server with an empty database `airflow`; `url` is SQLAlchemy's, with the password in it."""

    port: int
    password: str = field(repr=False)
    programs: Programs = field(repr=False)

    @property
    def url(self) -> str:
        """postgresql+psycopg2://user:password@host:port/database."""
        return f"postgresql+psycopg2://{USER}:{self.password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def query(self, statement: str, database: str = DATABASE) -> list[tuple[object, ...]]:
        """Run one statement, committed; its rows."""
        with self._connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []

    def answers(self) -> bool:
        """Whether the user can log in."""
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self, database: str) -> psycopg.Connection:
        address = f"host={LOOPBACK} port={self.port} dbname={database} connect_timeout=5"
        return psycopg.connect(address, user=USER, password=self.password, autocommit=True)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """An empty server; its data is in a temporary folder of the user it runs as (never root), its log in `folder`."""
    port, password = free_port(), secret(NAME)
    with tempfile.TemporaryDirectory(prefix="my-feast-postgres-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        programs_folder, variables = _programs(home)
        as_user = _as_user(home, write_private(home / "password", password))
        initdb = [str(programs_folder / "initdb"), "-D", str(home / "data"), "-U", USER, "-E", "UTF8", "--no-sync"]
        initdb += ["--auth=scram-sha-256", f"--pwfile={home / 'password'}", "--locale=C"]
        done = subprocess.run([*as_user, *initdb], env=variables, cwd=home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise downloads.Unavailable(f"initdb of PostgreSQL ended with {done.returncode}: {done.stderr[-500:]}")
        server = [
            str(programs_folder / "postgres"),
            "-D",
            str(home / "data"),
            "-h",
            LOOPBACK,
            "-p",
            str(port),
            "-k",
            "",
        ]
        server += [word for setting in QUICK for word in ("-c", setting)]
        with Programs(folder) as programs:
            programs.start(NAME, [*as_user, *server], environment=variables)
            database = Postgres(port, password, programs)
            programs.wait_until(database.answers, what="PostgreSQL")
            database.query(f"CREATE DATABASE {DATABASE}", database="postgres")
            yield database


def _programs(home: Path) -> tuple[Path, dict[str, str]]:
    """The folder of postgres and initdb: on PATH, where Debian puts them, else Debian's packages copied below `home`."""
    on_path = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    found = [Path(on_path).resolve()] if on_path else installed[-1:]
    if found:
        return found[0].parent, dict(os.environ)
    root = home / "root"  # the cache may be in a folder that only root can enter
    shutil.copytree(downloads.debian("postgresql"), root, symlinks=True)
    unpacked = sorted(root.glob("usr/lib/postgresql/*/bin/initdb"), key=_version)
    if not unpacked:
        raise downloads.Unavailable("postgres: the package postgresql of this release holds no initdb")
    return unpacked[-1].parent, {**os.environ, "LD_LIBRARY_PATH": downloads.library_path(root)}


def _version(program: Path) -> int:
    return int(re.sub(r"\D", "", program.parent.parent.name) or 0)


def _as_user(home: Path, password: Path) -> list[str]:
    """What a command is prefixed with: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if not setpriv:
        raise downloads.Unavailable("PostgreSQL does not run as root, and setpriv (util-linux) is not on PATH")
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    account = accounts.get("postgres") or accounts["nobody"]
    for path in (home, password):
        os.chown(path, account.pw_uid, account.pw_gid)
    return [setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]
