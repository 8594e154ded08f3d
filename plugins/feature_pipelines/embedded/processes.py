"""Programs that run as long as the launcher does, each in a process group of its own with a log file."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from feature_pipelines.embedded import watchdog
from feature_pipelines.embedded.machine import MachineError

TAIL_LINES = 25
ANNOUNCED = ("/bin/sh", "-c", 'echo $$ >&0 && exec "$@" </dev/null', "announced")
"""Tells the watchdog its process group, then becomes the program: however soon its launcher ends, the group is known."""


class Processes:
    """Starts programs; however the launcher ends, SIGKILL included, the watchdog stops them."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._watchdog = _start_watchdog()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        """Start a program; its output goes to `<logs>/<name>.log`, emptied first."""
        with self.log(name).open("wb") as out:
            program = subprocess.Popen(
                [*ANNOUNCED, *command],
                stdin=self._watchdog.stdin,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._programs[name] = program

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """MachineError when a program has ended by itself, with the tail of its log, or when the watchdog has."""
        if self._watchdog.poll() is not None:
            raise MachineError("The process that stops the programs was killed; they are stopped by another one now.")
        for name, program in self._programs.items():
            code = program.poll()
            if code is not None:
                raise MachineError(f"{name} ended with {code}. The end of {self.log(name)}:\n{tail(self.log(name))}")

    def stop(self) -> None:
        """Stop all of them, the first one last; returns when none is left."""
        if self._programs and self._watchdog.poll() is not None:
            _close(self._watchdog)
            self._watchdog = _start_watchdog("".join(f"{program.pid}\n" for program in self._programs.values()))
        _close(self._watchdog)
        while self._watchdog.poll() is None:
            self._reap()
            time.sleep(0.02)
        self._reap()
        self._programs.clear()

    def _reap(self) -> None:
        for program in self._programs.values():
            program.poll()


def _start_watchdog(groups: str = "") -> subprocess.Popen[str]:
    # its own session, so that Ctrl-C in the terminal reaches neither it nor the programs, only the launcher
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", watchdog.__file__], stdin=subprocess.PIPE, text=True, start_new_session=True
    )
    assert started.stdin is not None  # noqa: S101 - Popen was given a pipe
    started.stdin.write(groups)
    started.stdin.flush()
    return started


def _close(program: subprocess.Popen[str]) -> None:
    """The end of its input."""
    if program.stdin is not None:
        program.stdin.close()


def tail(file: Path) -> str:
    """The last lines of a text file, indented."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ["(no such file)"]
    return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])
