"""Real servers for tests, on free loopback ports."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from feature_pipelines.embedded import machine

START_SECONDS = 120


@dataclass
class RedisServer:
    """A redis-server process of the test's own; nothing of it is kept on disk unless `save` is asked for."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    options: tuple[str, ...]

    @property
    def connection_string(self) -> str:
        """As Feast wants it: host:port."""
        return f"{machine.LOOPBACK}:{self.port}"

    def client(self, **options: object) -> redis.Redis:
        """A new client that answers bytes."""
        return redis.Redis(host=machine.LOOPBACK, port=self.port, **options)  # type: ignore[arg-type]

    def kill(self) -> None:
        """As a crash: SIGKILL, nothing saved."""
        self.process.kill()
        self.process.wait(timeout=START_SECONDS)

    def stop(self) -> None:
        """As an orderly shutdown."""
        self.process.terminate()
        try:
            self.process.wait(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self, *options: str) -> None:
        """Stop and start again on the same port and folder, perhaps with other options."""
        if self.process.poll() is None:
            self.stop()
        self.options = options or self.options
        self.process = _launch(self.folder, self.port, self.options)


def start_redis(folder: Path, *options: str) -> RedisServer:
    """Start redis-server and return once it answers; options as on its command line: "--maxmemory", "10mb"."""
    folder.mkdir(parents=True, exist_ok=True)
    port = machine.free_port()
    return RedisServer(folder, port, _launch(folder, port, options), options)


def _launch(folder: Path, port: int, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    log = folder / "redis.log"
    command = [str(machine.redis_server()), "--bind", machine.LOOPBACK, "--port", str(port), "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", *options]
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(port):
            return process
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise RuntimeError(f"redis-server did not start: {' '.join(command)}{os.linesep}{log.read_text()[-2000:]}")


def _answers(port: int) -> bool:
    client = redis.Redis(host=machine.LOOPBACK, port=port)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
