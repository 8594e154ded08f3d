"""Making way for those who read features from the same Redis while a run writes them (docs/adr/0005)."""

from __future__ import annotations

import time
from typing import Any

from redis import Redis

LOOK_SECONDS = 0.25
QUIET_SECONDS = 5.0
"""So long after the last read of somebody else a run goes on making way."""
WORK_SHARE = 1 / 3
"""The part of the time in which a run works while it makes way."""
LONGEST_REST = 0.5
_READS = ("cmdstat_hmget", "cmdstat_hgetall")


class Readers:
    """Notices the reads of hashes that a server carries out for others, from when it is made.

    `present` is whether there were any lately, `rested` how many seconds the run has rested for them.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.present = False
        self.rested = 0.0
        self._others = self._reads()
        self._looked = self._quiet_at = 0.0
        self._rested_at = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to look again."""
        return time.monotonic() - self._looked >= LOOK_SECONDS

    def look(self, own: int) -> None:
        """Ask the server. `own` is how many hashes this run has read so far; none of its reads may be on its way."""
        others, self._looked = self._reads() - own, time.monotonic()
        if others != self._others:
            self._others, self._quiet_at = others, self._looked + QUIET_SECONDS
        self.present = self._looked < self._quiet_at

    def rest(self) -> None:
        """Leave Redis and the machine to them for a while, in proportion to the work since the last rest."""
        worked = time.monotonic() - self._rested_at
        seconds = min(worked * (1 / WORK_SHARE - 1), LONGEST_REST)
        time.sleep(seconds)
        self.rested += seconds
        self._rested_at = time.monotonic()

    def _reads(self) -> int:
        commands: Any = self._client.info("commandstats")
        return sum(int(commands[name]["calls"]) for name in _READS if name in commands)
