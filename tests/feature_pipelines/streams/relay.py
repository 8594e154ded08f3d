"""A way to a server on this machine with the faults of a network: slow, or silent without a word."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"


@dataclass
class Relay:
    """Listens at `port` and passes on to `target`. The delays are seconds and hold from the next byte on."""

    target: int = 0
    connects_after: float = 0.0
    answers_after: float = 0.0
    _server: socket.socket = field(default_factory=lambda: socket.create_server((LOOPBACK, 0)), repr=False)
    _live: set[socket.socket] = field(default_factory=set, repr=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.getsockname()[1])

    def drop(self) -> None:
        """What is connected now hears nothing any more, not even that it was cut off, as behind a NAT."""
        self._live.clear()

    def accept(self) -> None:
        """Serves until the server's socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        """No connection is taken any more."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self, client: socket.socket) -> None:
        self._live.add(client)
        time.sleep(self.connects_after)
        with contextlib.suppress(OSError), client, socket.create_connection((LOOPBACK, self.target)) as server:
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if one is server:
                        time.sleep(self.answers_after)
                    if client in self._live:
                        (client if one is server else server).sendall(data)


@contextlib.contextmanager
def relay() -> Iterator[Relay]:
    """A relay without a target yet."""
    found = Relay()
    thread = threading.Thread(target=found.accept, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.close()
        thread.join()
