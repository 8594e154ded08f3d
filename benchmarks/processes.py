"""CPU seconds and memory of a process and all its descendants, for a contender that is not one process: Spark."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Cost, timed

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1024**2
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.2


def timed_with_children(work: Callable[[], object], rows: int) -> Cost:
    """As timed, summed over this process and its descendants; the memory is sampled five times a second.

    Pages that processes share count in each. Where there is no /proc: as timed.
    """
    if not Path("/proc/self/stat").exists():
        return timed(work, rows)
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], _family()[1])

    watcher = threading.Thread(target=watch, daemon=True)
    before = _family()[0]
    watcher.start()
    cost = timed(work, rows)
    cpu = _family()[0] - before
    done.set()
    watcher.join()
    return replace(cost, cpu=cpu, peak_mb=max(peak[0], cost.peak_mb))


def _family() -> tuple[float, float]:
    """CPU seconds (of ended and waited-for children too) and resident MB of this process and its descendants."""
    stats = {int(path.parent.name): fields for path in Path("/proc").glob("[0-9]*/stat") if (fields := _fields(path))}
    family = {os.getpid()}
    while more := {pid for pid, fields in stats.items() if int(fields[1]) in family} - family:
        family |= more
    # Fields after the name, from `man proc`: 1 parent, 11-14 utime, stime, cutime, cstime, 21 rss.
    found = [stats[pid] for pid in family if pid in stats]
    return sum(sum(map(int, f[11:15])) for f in found) / TICKS, sum(int(f[21]) for f in found) * PAGE_MB


def _fields(path: Path) -> list[str]:
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:  # it has ended meanwhile
        return []
