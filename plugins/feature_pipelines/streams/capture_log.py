"""Event Hubs Capture as a log. A record's SequenceNumber is the offset that it has through the Kafka protocol."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from feast_lakehouse.errors import DataError
from feature_pipelines.streams.capture_files import CaptureFile, CaptureFiles
from feature_pipelines.streams.log import Bounds, Record, Span

if TYPE_CHECKING:
    from feast_lakehouse.delta import TableRef

WINDOW: Final = timedelta(hours=1)
"""More than Capture waits before it writes a file (15 minutes at most), whichever end of the wait names the file."""


@dataclass(frozen=True)
class CaptureLog:
    """The files of one hub. The log ends where Capture has written so far."""

    folder: TableRef
    settles_after: timedelta = timedelta(minutes=20)

    @property
    def name(self) -> str:
        """Where the files are."""
        return f"Capture in {self.folder.uri}"

    @property
    def identity(self) -> None:
        """Files have none."""
        return

    def is_stamped_by_broker(self) -> bool:
        """Capture keeps the time at which the hub took a record."""
        return True

    @functools.cached_property
    def files(self) -> CaptureFiles:
        """As they are now."""
        return CaptureFiles(self.folder)

    def bounds(self) -> dict[int, Bounds]:
        """From the first and the last file with records of each partition."""
        found = {partition: self._bounds(partition) for partition in self.files.partitions()}
        if not found:
            raise DataError(
                f"{self.name}: expected files such as 0/2013/01/01/00/05/00.avro, found none. Check `path` in the "
                "environment's file (it ends with the hub's name) and whether Capture is on."
            )
        return found

    def _bounds(self, partition: int) -> Bounds:
        days = self.files.days(partition)
        filled = (file for day in reversed(days) for file in reversed(self.files.of_day(day)) if self._is_filled(file))
        last = next(filled, None)
        low = self._first_from(partition, 0)
        return Bounds(low or 0, max(record.offset for record in self.files.records(last)) + 1 if last else 0)

    def _is_filled(self, file: CaptureFile) -> bool:
        return self.files.first(file) is not None

    def _first_from(self, partition: int, day: int) -> int | None:
        """The first sequence number of the partition's day of that index or later; None = no record there."""
        days = self.files.days(partition)[day:]
        found = (self.files.first(file) for folder in days for file in self.files.of_day(folder))
        return next((number for number in found if number is not None), None)

    def offsets_at(self, instant: datetime) -> dict[int, int | None]:
        """From the files that Capture was writing then or later."""
        return {partition: self._offset_at(partition, instant) for partition in self.files.partitions()}

    def _offset_at(self, partition: int, instant: datetime) -> int | None:
        begin = f"{partition}/{instant - WINDOW:%Y/%m/%d}"
        files = (file for day in self.files.days(partition) if day >= begin for file in self.files.of_day(day))
        records = (record for file in files if file.named >= instant - WINDOW for record in self.files.records(file))
        return next((record.offset for record in records if record.enqueued >= instant), None)

    def read(self, span: Span) -> Iterator[Record]:
        """From the files, without records that Capture wrote twice. A hub numbers records without gaps."""
        following = span.first
        for file in self._files_of(span):
            for record in self.files.records(file):
                if following <= record.offset < span.end:
                    if record.offset > following:
                        raise self._gap(span, following, record.offset)
                    following += 1
                    yield record
            if following >= span.end:
                return
        if following < span.end:
            raise self._gap(span, following, span.end)

    def _files_of(self, span: Span) -> Iterator[CaptureFile]:
        """The partition's files from the last day on that begins at or before the span, found by halving."""
        days = self.files.days(span.partition) if not span.is_empty else []
        low, high = 0, len(days)
        while high - low > 1:
            middle = (low + high) // 2
            first = self._first_from(span.partition, middle)
            low, high = (middle, high) if first is not None and first <= span.first else (low, middle)
        return (file for day in days[low:] for file in self.files.of_day(day))

    def _gap(self, span: Span, first: int, end: int) -> DataError:
        return DataError(
            f"{self.name}: partition {span.partition} has no file with sequence numbers {first} to {end - 1}; was one "
            "deleted, or not yet written?"
        )
