from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from feature_pipelines.embedded.machine import MachineError
from feature_pipelines.embedded.processes import Processes

# a program with a child of its own, both of which take no notice of SIGTERM when told so
PROGRAM = """
import signal, subprocess, sys, time
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(600)
"""

LAUNCHER = """
import os, sys, time
from pathlib import Path
from feature_pipelines.embedded.processes import Processes
processes = Processes(Path(sys.argv[1]))
processes.start("program", [sys.executable, "-c", sys.argv[2], sys.argv[3]], environment=dict(os.environ))
time.sleep(600)
"""

# is stopped, as by Ctrl-C, at a moment of the few milliseconds in which a program is started, or soon after
STOPPED_LAUNCHER = """
import os, random, signal, sys
from pathlib import Path
from feature_pipelines.embedded.processes import Processes
class Stopped(BaseException): pass
def stop(*_): raise Stopped
signal.signal(signal.SIGALRM, stop)
try:
    with Processes(Path(sys.argv[1])) as processes:
        signal.setitimer(signal.ITIMER_REAL, random.Random(int(sys.argv[2])).uniform(0.0002, 0.004))
        processes.start("program", ["sleep", "604"], environment=dict(os.environ))
        signal.pause()
except Stopped:
    pass
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def pid_in(file: Path) -> int:
    deadline = time.monotonic() + 120
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, f"{file} was not written"
        time.sleep(0.02)
    return int(file.read_text())


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 120
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


def check_for_a_while(processes: Processes) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        processes.check()
        time.sleep(0.02)


def test_stop_leaves_neither_program_nor_its_children(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("program", [sys.executable, "-c", PROGRAM, str(tmp_path / "pid")], environment=dict(os.environ))
        child = pid_in(tmp_path / "pid")
        assert alive(child)
    assert not alive(child)


def test_a_killed_launcher_leaves_neither_program_nor_its_children(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(tmp_path / "logs"), PROGRAM, str(tmp_path / "pid")]
    with subprocess.Popen(command) as launcher:
        child = pid_in(tmp_path / "pid")
        launcher.send_signal(signal.SIGKILL)
    wait_until_gone(child)


def test_a_launcher_that_is_stopped_while_it_starts_a_program_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "STARTED_IN": str(tmp_path)}
    commands = [[sys.executable, "-c", STOPPED_LAUNCHER, str(tmp_path / str(n)), str(n)] for n in range(8)]
    launchers = [subprocess.Popen(command, env=environment) for command in commands]
    assert [launcher.wait(timeout=300) for launcher in launchers] == [0] * len(launchers)
    assert [entry for entry in Path("/proc").glob("[0-9]*") if started_in(int(entry.name), tmp_path)] == []


def started_in(pid: int, folder: Path) -> bool:
    try:
        return f"STARTED_IN={folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes() and alive(pid)
    except OSError:  # it has ended meanwhile, or is not ours
        return False


def test_programs_are_stopped_though_the_watchdog_was_killed(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("program", [sys.executable, "-c", PROGRAM, str(tmp_path / "pid")], environment=dict(os.environ))
        child = pid_in(tmp_path / "pid")
        processes._watchdog.kill()
        with pytest.raises(MachineError, match="was killed"):
            check_for_a_while(processes)
    assert not alive(child)


def test_a_program_that_ends_by_itself_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("short", [sys.executable, "-c", "print('why'); exit(7)"], environment=dict(os.environ))
        with pytest.raises(MachineError, match=r"(?s)short ended with 7\. .*why"):
            check_for_a_while(processes)
