"""How hard a run presses Redis: rows of one chunk, rows per second, and whether readers come first."""

from __future__ import annotations

from dataclasses import dataclass

from feast_lakehouse.view import View

CHUNK_FIELDS = 6000
"""Redis answers nobody else while it writes a chunk: about 2 ms for so many fields of numbers, whatever they are rows of."""
CHUNK_FIELDS_AMONG_READERS = 1500


@dataclass(frozen=True)
class Pace:
    """Rows of one atomic chunk (0: as many as suit), rows per second (0: no cap), and whether to make way for readers."""

    chunk_rows: int = 0
    rows_per_second: int = 0
    readers_first: bool = True

    def rows_of_a_chunk(self, view: View, *, among_readers: bool) -> int:
        """How many rows of the view Redis is to write in one transaction."""
        fields = CHUNK_FIELDS_AMONG_READERS if among_readers else CHUNK_FIELDS
        return self.chunk_rows or max(1, fields // view.width)
