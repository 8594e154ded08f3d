"""The processes of one service: started in groups of their own, killed one by one, and none left at the end."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from feature_pipelines.embedded.machine import LOOPBACK, free_port
from feature_pipelines.embedded.processes import Processes, tail

START_SECONDS = 300
STOP_SECONDS = 60
__all__ = [
    "LOOPBACK",
    "Programs",
    "free_port",
    "free_ports",
    "has_process",
    "listens",
    "secret",
    "wait_until",
    "write_private",
]


class Programs(Processes):
    """As the launcher's processes, and each can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "logs")
        self._commands: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        """Start a program; its output goes to `logs/<name>.log`."""
        self._commands[name] = (command, environment)
        super().start(name, command, environment=environment)

    def pid(self, name: str) -> int:
        """Of the program, and of its process group."""
        return self._programs[name].pid

    def alive(self, name: str) -> bool:
        """Whether it runs."""
        return self._programs[name].poll() is None

    def groups(self) -> list[int]:
        """The process groups of all programs; each is that of its program's process id."""
        return [program.pid for program in self._programs.values()]

    def children(self, name: str) -> dict[int, str]:
        """The processes that a program has started, and theirs: process id -> command line."""
        found = {}
        for child in psutil.Process(self.pid(name)).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                found[int(child.pid)] = " ".join(child.cmdline())
        return found

    def kill(self, name: str) -> None:
        """As a crash: SIGKILL to the program alone, what it has started finds out by itself."""
        self._programs[name].kill()
        self._programs[name].wait(timeout=STOP_SECONDS)

    def end(self, name: str) -> None:
        """An orderly stop of one program; SIGKILL to its whole group when it takes too long."""
        self._programs[name].terminate()
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            wait_until(lambda: not self.alive(name), what=name, seconds=STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid(name), signal.SIGKILL)
        self._programs[name].wait(timeout=STOP_SECONDS)

    def again(self, name: str) -> None:
        """Start a program that has ended with the command it was started with; what it logged before stays beside."""
        old = next(number for number in itertools.count(1) if not self.log(f"{name}-{number}").exists())
        self.log(name).rename(self.log(f"{name}-{old}"))
        command, environment = self._commands[name]
        self.start(name, command, environment=environment)

    def wait_until(self, ready: Callable[[], bool], *, what: str, seconds: float = START_SECONDS) -> None:
        """Until `ready`; RuntimeError with the ends of all logs when a program ends before, or it takes too long."""

        def check() -> bool:
            self.check()
            return ready()

        try:
            wait_until(check, what=what, seconds=seconds)
        except TimeoutError as error:
            logs = "\n".join(f"{name}:\n{tail(self.log(name))}" for name in self._programs)
            raise RuntimeError(f"{error}\n{logs}") from None


def wait_until(ready: Callable[[], bool], *, what: str, seconds: float) -> None:
    """Ask until it is so; TimeoutError after some seconds."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not so after {seconds:g} s")
        time.sleep(0.1)


def has_process(group: int) -> bool:
    """Whether anything of a process group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Loopback ports, all different, that were free a moment ago."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def listens(port: int) -> bool:
    """Whether anything accepts connections at a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def secret(what: str) -> str:
    """A password that is recognized wherever it turns up."""
    return f"canary-{what}-{secrets.token_hex(12)}"


def write_private(file: Path, text: str) -> Path:
    """A file that only its owner can read."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    return file
