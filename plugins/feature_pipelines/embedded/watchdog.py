"""Stops the programs of a launcher when its pipe closes: on its order, and also when it was killed.

Reads one process group id per line from standard input; at the end of input stops all groups in reverse order of their
start: the last ones together, the first one (Redis, on which the others depend) after them. Standard library only.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

LEADER_SECONDS = 3.0
GROUP_SECONDS = 12.0
KILL_SECONDS = 5.0


def main() -> None:
    """Wait for the end of input, then leave no group."""
    for harmless in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(harmless, signal.SIG_IGN)  # its only reason to end is the end of the launcher
    groups = [int(line) for line in sys.stdin]
    stop_groups(groups[1:])
    stop_groups(groups[:1])


def stop_groups(groups: Sequence[int]) -> None:
    """SIGTERM to the leader of each group, then to the whole group, then SIGKILL; each to what is left by then.

    The leader first: a parent whose children are ended for it (Airflow's triggerer) waits ten seconds for nothing.
    """
    steps: list[tuple[Callable[[int, int], None], int, float]] = [
        (os.kill, signal.SIGTERM, LEADER_SECONDS),
        (os.killpg, signal.SIGTERM, GROUP_SECONDS),
        (os.killpg, signal.SIGKILL, KILL_SECONDS),
    ]
    left = list(groups)
    for send, number, seconds in steps:
        for group in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(group, number)
        deadline = time.monotonic() + seconds
        while (left := [group for group in left if _has_process(group)]) and time.monotonic() < deadline:
            time.sleep(0.05)


def _has_process(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS says so of a group of zombies
        return False
    return True


if __name__ == "__main__":
    main()
