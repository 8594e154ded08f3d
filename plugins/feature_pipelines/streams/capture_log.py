"""Event Hubs Capture as a log: Avro files in a folder of a lake, one after another for each partition.

The folder is `{namespace}/{hub}` of Capture's naming; below it are `{partition}/{Y}/{m}/{d}/{H}/{M}/{S}.avro`. A record's
SequenceNumber is the offset it has through the Kafka protocol.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, Final, cast

from feast_lakehouse.errors import DataError, TransportError
from feature_pipelines.streams.log import HEARTBEAT, Bounds, Record, Span

if TYPE_CHECKING:
    from feast_lakehouse.delta import TableRef

FILE: Final = re.compile(r"(\d+)/(\d{4})/(\d{2})/(\d{2})/(\d{2})/(\d{2})/(\d{2})\.avro")
WINDOW: Final = timedelta(hours=1)
"""More than Capture waits before it writes a file (15 minutes at most), whichever end of the wait names the file."""

FIELDS: Final = ("SequenceNumber", "EnqueuedTimeUtc", "Properties", "Body")
CLOCK: Final = "%m/%d/%Y %I:%M:%S %p"


@dataclass(frozen=True)
class _File:
    partition: int
    named: datetime
    path: str


@dataclass(frozen=True)
class CaptureLog:
    """The files of one hub. What they hold ends where Capture has written so far; empty files are Capture's too."""

    folder: TableRef
    settles_after: timedelta = timedelta(minutes=20)
    _firsts: dict[str, int | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Where the files are."""
        return f"Capture files in {self.folder.uri}"

    @property
    def identity(self) -> None:
        """Files have none."""
        return

    def is_stamped_by_broker(self) -> bool:
        """Capture keeps the time at which the hub took a record."""
        return True

    def bounds(self) -> dict[int, Bounds]:
        """From the first and the last file with records of each partition."""
        found = {}
        for partition, files in self._files.items():
            first = next((each for each in map(self._first, files) if each is not None), None)
            last = next((file for file in reversed(files) if self._first(file) is not None), None)
            high = 0 if last is None else max(record.offset for record in self._records(last)) + 1
            found[partition] = Bounds(0 if first is None else first, high)
        return found

    def offsets_at(self, instant: datetime) -> dict[int, int | None]:
        """From the files that Capture was writing then or later."""
        return {partition: self._offset_at(files, instant) for partition, files in self._files.items()}

    def _offset_at(self, files: tuple[_File, ...], instant: datetime) -> int | None:
        later = (record for file in files if file.named >= instant - WINDOW for record in self._records(file))
        return next((record.offset for record in later if record.enqueued >= instant), None)

    def read(self, span: Span) -> Iterator[Record]:
        """From the files, without records that Capture wrote twice. A hub numbers records without gaps."""
        following = span.first
        for file in self._from(span) if not span.is_empty else ():
            for record in self._records(file):
                if following <= record.offset < span.end:
                    if record.offset > following:
                        raise self._gap(span, following, record.offset)
                    following += 1
                    yield record
            if following >= span.end:
                return
        if following < span.end:
            raise self._gap(span, following, span.end)

    def _gap(self, span: Span, first: int, end: int) -> DataError:
        return DataError(
            f"{self.name}: partition {span.partition} has no file with sequence numbers {first} to {end - 1}; was one "
            "deleted, or not yet written?"
        )

    def _from(self, span: Span) -> tuple[_File, ...]:
        """The partition's files from the last one that begins at or before the span; found by halving."""
        files = [file for file in self._files.get(span.partition, ()) if self._first(file) is not None]
        low, high = 0, len(files)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cast("int", self._first(files[middle])) <= span.first else (low, middle)
        return tuple(files[low:])

    @functools.cached_property
    def _files(self) -> Mapping[int, tuple[_File, ...]]:
        import pyarrow.fs as pafs

        try:
            listed = self.folder.filesystem().get_file_info(pafs.FileSelector("", recursive=True, allow_not_found=True))
        except OSError as error:
            raise TransportError(f"{self.name}: they cannot be listed: {error}") from error
        found: dict[int, list[_File]] = {}
        for info in listed:
            match = FILE.fullmatch(info.path.lstrip("/"))
            if match and info.is_file:
                partition, *named = map(int, match.groups())
                found.setdefault(partition, []).append(_File(partition, datetime(*named, tzinfo=UTC), info.path))  # type: ignore[arg-type,misc]
        if not found:
            raise DataError(
                f"{self.name}: expected files such as 0/2013/01/01/00/05/00.avro, found none. Check `path` in the "
                "environment's file (it ends with the hub's name) and whether Capture is on."
            )
        return {partition: tuple(sorted(files, key=lambda file: file.named)) for partition, files in found.items()}

    def _first(self, file: _File) -> int | None:
        """The first sequence number of a file; None for an empty one."""
        if file.path not in self._firsts:
            self._firsts[file.path] = next((record.offset for record in self._records(file)), None)
        return self._firsts[file.path]

    def _records(self, file: _File) -> Iterator[Record]:
        import fastavro

        try:
            with self.folder.filesystem().open_input_file(file.path) as stream:
                for told in fastavro.reader(cast("IO[bytes]", stream)):
                    yield self._record(file, cast("dict[str, Any]", told))
        except OSError as error:
            raise TransportError(f"{self.name}: {file.path} cannot be read: {error}") from error
        except (ValueError, EOFError, IndexError) as error:
            raise DataError(f"{self.name}: {file.path} is no whole Avro file: {error}") from error

    def _record(self, file: _File, told: Mapping[str, Any]) -> Record:
        missing = [name for name in FIELDS if name not in told]
        if missing:
            raise DataError(f"{self.name}: {file.path} is not Capture's, its records lack {', '.join(missing)}")
        enqueued = self._instant(file, str(told["EnqueuedTimeUtc"]))
        is_heartbeat = HEARTBEAT in (told["Properties"] or {})
        return Record(file.partition, int(told["SequenceNumber"]), enqueued, told["Body"], is_heartbeat=is_heartbeat)

    def _instant(self, file: _File, text: str) -> datetime:
        try:
            return datetime.strptime(text, CLOCK).replace(tzinfo=UTC)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            raise DataError(f"{self.name}: {file.path}: EnqueuedTimeUtc is {text!r}, no time") from None
