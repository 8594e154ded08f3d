"""Stops the programs of a launcher when its pipe closes: on its order, and also when it was killed.

Reads one process group id per line from standard input; at the end of input stops all groups in reverse order of their
start: the last ones together, the first one (Redis, on which the others depend) after them. Standard library only.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence

GRACE_SECONDS = 15.0
KILL_SECONDS = 5.0


def main() -> None:
    """Wait for the end of input, then leave no group."""
    for harmless in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(harmless, signal.SIG_IGN)  # its only reason to end is the end of the launcher
    groups = [int(line) for line in sys.stdin]
    stop_groups(groups[1:])
    stop_groups(groups[:1])


def stop_groups(groups: Sequence[int]) -> None:
    """SIGTERM to every group, SIGKILL to what is left after the grace period."""
    for ask, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        left = [group for group in groups if _signal(group, ask)]
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = [group for group in left if _signal(group, 0)]
        groups = left


def _signal(group: int, number: int) -> bool:
    """Whether the group still has a process."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS says so of a group of zombies
        return False
    return True


if __name__ == "__main__":
    main()
