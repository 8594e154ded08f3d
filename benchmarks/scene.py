"""Where a benchmark runs: a scratch folder, one Redis, sizes, and processes of their own for what is measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.measure import Cost
from feature_pipelines.embedded import machine
from tests.servers import RedisServer


@dataclass(frozen=True)
class Scene:
    """`rows` is the size everything is scaled by (1,000,000: the sizes of docs/benchmarks.md), `rounds` how often."""

    folder: Path
    server: RedisServer
    rows: int
    rounds: int

    @property
    def redis(self) -> str:
        """Its address, host:port."""
        return self.server.connection_string

    def say(self, text: str) -> None:
        """Progress, at once."""
        print(f"  {text}", flush=True)

    def flush(self) -> None:
        """Empty Redis, and let it give its memory back before the next contender."""
        client = self.server.client()
        client.flushall()
        client.close()

    def run(self, module: str, *arguments: object) -> Any:
        """Run `python -m benchmarks.module arguments…`; it prints JSON as its last line. Raises RuntimeError with its output."""
        command = _command(module, arguments)
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def cost(self, module: str, *arguments: object) -> Cost:
        """As run, for what prints a Cost."""
        return Cost(**self.run(module, *arguments))

    @contextmanager
    def beside(self, module: str, *arguments: object) -> Iterator[Companion]:
        """Run `python -m benchmarks.module arguments…` while the block lasts; `ready` waits for its first line."""
        log = self.folder / f"{module}-{arguments[0]}.log"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with log.open("w") as errors:
            process = subprocess.Popen(_command(module, arguments), stderr=errors, env=_environment(), **pipes)
        try:
            yield Companion(module, process, log)
        finally:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Companion:
    """A process beside this one that prints a line when it is ready and answers each line with a line.

    Every method raises RuntimeError with what it complained about when it has ended.
    """

    module: str
    process: subprocess.Popen[str]
    log: Path

    def ready(self) -> None:
        """Wait for the line it prints first."""
        self._answer()

    def _answer(self) -> str:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            self._complain()
        return line

    def told(self) -> Any:
        """The next line it printed by itself."""
        return json.loads(self._answer())

    def ask(self, question: str) -> Any:
        """Its answer to a line, as JSON."""
        if self.process.stdin:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
        return json.loads(self._answer())

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """It does nothing while the block lasts; it must have made a Clock."""
        self.process.send_signal(signal.SIGTSTP)
        self._check()
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._check()
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _check(self) -> None:
        if self.process.poll() is not None:
            self._complain()

    def _complain(self) -> NoReturn:
        raise RuntimeError(f"benchmarks.{self.module} ended:\n{self.log.read_text()[-3000:]}")


class Clock:
    """A clock of a companion that stands still while it is held up, for what rests in proportion to its work."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self._seconds, self._stopping = 0.0, False
        signal.signal(signal.SIGTSTP, self._stop)

    def monotonic(self) -> float:
        """Seconds since some time ago, without those in which this process was held up."""
        while True:
            held, now = self._seconds, time.monotonic()
            if held == self._seconds:  # else it was held up between the two
                return now - held

    def _stop(self, *_: object) -> None:
        nested, self._stopping, stopped = self._stopping, True, time.monotonic()
        os.kill(os.getpid(), signal.SIGSTOP)
        if not nested:  # else held up again before the last time was counted, which counts both
            self._seconds += time.monotonic() - stopped
            self._stopping = False


def _command(module: str, arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]


def _environment() -> dict[str, str]:
    quiet = {"FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **machine.program_environment(machine.java_home()), **quiet}
