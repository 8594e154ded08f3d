"""Making way for those who read features from the same Redis while a run writes them (docs/adr/0005)."""

from __future__ import annotations

import time
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

LOOK_SECONDS = 0.25
ASK_SECONDS = 1.0
"""At least so long between two looks at who is connected, which costs more where there are thousands."""
QUIET_SECONDS = 5.0
"""So long after the last read of somebody else a run goes on making way."""
WORK_SHARE = 1 / 3
"""The part of the time in which a run works while it makes way."""
LONGEST_REST = 0.5
NAME = b"feast_lakehouse"
"""What runs call their connections, so that they do not take each other for readers."""
_READS = ("hmget", "hgetall")


class Readers:
    """Notices the reads of hashes that a server carries out for others than runs, from when it is made.

    `present` is whether there were any lately, `rested` how many seconds the run has rested for them.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.present = False
        self.rested = 0.0
        self._others = self._reads()
        self._looked = self._asked = self._quiet_at = 0.0
        self._rested_at = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to look again."""
        return time.monotonic() - self._looked >= LOOK_SECONDS

    def look(self, own: int) -> None:
        """Ask the server. `own` is how many hashes this run has read so far; none of its reads may be on its way."""
        others, self._looked = self._reads() - own, time.monotonic()
        read, self._others = others != self._others, others
        if read and self._looked - self._asked >= ASK_SECONDS:
            self._asked = self._looked
            if self._somebody_but_runs():
                self._quiet_at = self._looked + QUIET_SECONDS
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
        counts = (commands.get(f"cmdstat_{name}", {"calls": 0}) for name in _READS)
        return sum(int(count["calls"]) for count in counts)

    def _somebody_but_runs(self) -> bool:
        """Whether a connection that no run has named read a hash within the last second or so."""
        try:
            connections: Any = self._client.client_list()
        except ResponseError:  # where nobody may ask, whoever reads counts
            return True
        return any(
            each["cmd"] in _READS and float(each["idle"]) <= ASK_SECONDS and each["name"] != NAME.decode()
            for each in connections
        )
