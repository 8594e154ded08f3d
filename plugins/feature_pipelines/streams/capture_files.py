"""Files of Event Hubs Capture in a folder of a lake: found day by day, so that years of them cost little, and read."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final, cast

from deltalake.exceptions import DeltaError, TableNotFoundError

from feast_lakehouse.errors import DataError
from feature_pipelines.streams.log import HEARTBEAT, Record

if TYPE_CHECKING:
    import pyarrow.fs as pafs

    from feast_lakehouse.delta import TableRef

FILE: Final = re.compile(r"(\d+)/(\d{4})/(\d{2})/(\d{2})/(\d{2})/(\d{2})/(\d{2})\.avro")
NUMBER: Final = re.compile(r"\d+")
FIELDS: Final = {"SequenceNumber": int, "EnqueuedTimeUtc": str, "Properties": dict | None, "Body": bytes | None}
CLOCK: Final = "%m/%d/%Y %I:%M:%S %p"


@dataclass(frozen=True)
class CaptureFile:
    """One file, named after the time at which Capture began it or wrote it."""

    partition: int
    named: datetime
    path: str


@dataclass(frozen=True)
class CaptureFiles:
    """The folder `{namespace}/{hub}`, below it `{partition}/{Y}/{m}/{d}/{H}/{M}/{S}.avro`. What was seen is remembered."""

    folder: TableRef
    _first: dict[str, int | None] = field(default_factory=dict, repr=False, compare=False)
    _days: dict[int, list[str]] = field(default_factory=dict, repr=False, compare=False)
    _of_day: dict[str, tuple[CaptureFile, ...]] = field(default_factory=dict, repr=False, compare=False)

    def partitions(self) -> list[int]:
        """Sorted; empty when there is no such folder."""
        return [int(name) for name in self._numbers("")]

    def days(self, partition: int) -> list[str]:
        """The folders of days that the partition has, such as 0/2013/01/02, sorted."""
        if partition not in self._days:
            years = (f"{partition}/{year}" for year in self._numbers(str(partition)))
            months = (f"{year}/{month}" for year in years for month in self._numbers(year))
            self._days[partition] = [f"{month}/{day}" for month in months for day in self._numbers(month)]
        return self._days[partition]

    def of_day(self, folder: str) -> tuple[CaptureFile, ...]:
        """The files below the folder of a day, in order."""
        if folder not in self._of_day:
            found = []
            for info in self._listed(folder, recursive=True):
                match = FILE.fullmatch(info.path)
                if match and info.is_file:
                    partition, *named = map(int, match.groups())
                    found.append(CaptureFile(partition, datetime(*named, tzinfo=UTC), info.path))  # type: ignore[arg-type,misc]
            self._of_day[folder] = tuple(sorted(found, key=lambda file: file.named))
        return self._of_day[folder]

    def first(self, file: CaptureFile) -> int | None:
        """The first sequence number in a file; None for an empty one."""
        if file.path not in self._first:
            self._first[file.path] = next((record.offset for record in self.records(file)), None)
        return self._first[file.path]

    def records(self, file: CaptureFile) -> Iterator[Record]:
        """Every record of a file. Raises DataError for a file that is not Capture's, or not whole."""
        try:
            with self._filesystem.open_input_file(file.path) as stream:
                for told in self._decoded(file, cast("IO[bytes]", stream)):
                    yield self._record(file, told)
        except OSError as error:
            raise self.folder.failed(f"{file.path} cannot be read", error) from None

    def _decoded(self, file: CaptureFile, stream: IO[bytes]) -> Iterator[Mapping[str, Any]]:
        import fastavro

        try:
            yield from cast("Iterator[dict[str, Any]]", fastavro.reader(stream))
        except OSError:
            raise
        except Exception as error:
            # On damaged bytes fastavro raises whatever it stumbles over: zlib.error, KeyError, EOFError and so on.
            raise self._broken(file, f"it is no whole Avro file ({type(error).__name__}: {error})") from error

    def _record(self, file: CaptureFile, told: Mapping[str, Any]) -> Record:
        wrong = [name for name, kind in FIELDS.items() if name not in told or not isinstance(told[name], kind)]
        if wrong:
            raise self._broken(file, f"it is not Capture's, its records lack {', '.join(wrong)} as Capture has it")
        enqueued = self._instant(file, told["EnqueuedTimeUtc"])
        is_heartbeat = HEARTBEAT in (told["Properties"] or {})
        return Record(file.partition, told["SequenceNumber"], enqueued, told["Body"], is_heartbeat=is_heartbeat)

    def _instant(self, file: CaptureFile, text: str) -> datetime:
        try:
            return datetime.strptime(text, CLOCK).replace(tzinfo=UTC)
        except ValueError:
            pass
        try:
            found = datetime.fromisoformat(text)
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            raise self._broken(file, f"EnqueuedTimeUtc is {text!r}, no time") from None

    def _broken(self, file: CaptureFile, told: str) -> DataError:
        return DataError(f"Capture file {self.folder.uri}/{file.path}: {told}")

    def _numbers(self, folder: str) -> list[str]:
        """Names of sub-folders that are numbers, as numbers sort."""
        names = (info.path.rpartition("/")[2] for info in self._listed(folder) if not info.is_file)
        return sorted((name for name in names if NUMBER.fullmatch(name)), key=int)

    def _listed(self, folder: str, *, recursive: bool = False) -> list[pafs.FileInfo]:
        import pyarrow.fs as pafs

        try:
            listed: list[pafs.FileInfo] = self._filesystem.get_file_info(
                pafs.FileSelector(folder, recursive=recursive, allow_not_found=True)
            )
        except (TableNotFoundError, FileNotFoundError):
            return []
        except (DeltaError, OSError) as error:
            raise self.folder.failed("Capture's files cannot be listed", error) from None
        return listed

    @functools.cached_property
    def _filesystem(self) -> pafs.FileSystem:
        return self.folder.filesystem()
