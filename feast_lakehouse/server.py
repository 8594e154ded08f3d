"""Facts about a Redis server that decide whether it can be trusted with features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis

from feast_lakehouse.errors import DataError

BUSY = 20
"""Commands per second; fewer are what health checks and monitoring ask."""


@dataclass(frozen=True)
class Server:
    """Replication id, evicted keys since the server started, its clock in µs since 1970 UTC, its eviction policy, and
    how many commands per second it carried out lately.
    """

    replid: str
    evicted: int
    time_micros: int
    policy: str
    commands_per_second: int

    @classmethod
    def of(cls, client: Redis) -> Server:
        """Ask the server."""
        info: Any = client.info()
        clock: Any = client.time()
        seconds, micros = clock
        return cls(
            str(info.get("master_replid", "")),
            int(info.get("evicted_keys", 0)),
            seconds * 1_000_000 + micros,
            str(info.get("maxmemory_policy", "noeviction")),
            int(info.get("instantaneous_ops_per_sec", 0)),
        )

    @property
    def busy(self) -> bool:
        """Whether somebody works with it."""
        return self.commands_per_second >= BUSY

    def refuse_eviction(self) -> None:
        """Raise DataError when the server may throw keys away as it likes."""
        if self.policy.startswith("allkeys-"):
            raise DataError(
                f"Redis: expected maxmemory-policy noeviction (or volatile-*), found {self.policy}. "
                "The server may drop any feature at any time; set the policy, or use another server for other data."
            )
