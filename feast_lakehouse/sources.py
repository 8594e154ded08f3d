"""Feast data sources as Delta tables at one pinned version, read as Arrow with the columns and times a query needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from feast_lakehouse.delta import TableRef, TableState
from feast_lakehouse.errors import DataError
from feast_lakehouse.lakes import SCHEME, Lakes

MICROSECONDS = "us"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Source:
    """A data source whose table is pinned at `state.version`; column names are those of the feature view.

    A row's time is its timestamp column in microseconds since 1970 UTC; a column without a time zone is taken as UTC.
    """

    name: str
    ref: TableRef
    state: TableState
    timestamp: str
    created: str | None
    columns: Mapping[str, str]

    @cached_property
    def dataset(self) -> pads.Dataset:
        """The table's files at the pinned version."""
        return self.ref.dataset(self.state.files, self.state.version)

    def type_of(self, name: str) -> pa.DataType:
        """The type of a column. Raises DataError naming the table's columns when it is not there."""
        stored = self.columns.get(name, name)
        if stored not in self.state.schema.names:
            raise DataError(
                f"{self.name}: {self.ref.uri} has no column {stored!r} at version {self.state.version}. "
                f"Columns: {self.state.schema.names}. Was the table published since the view got this column?"
            )
        return self.state.schema.field(stored).type

    def scan(
        self, columns: Mapping[str, str], *, times: Mapping[str, str], since: int | None, until: int | None
    ) -> pads.Scanner:
        """A scan of the rows with since <= time <= until (microseconds; None: no bound).

        `columns` maps output names to columns, `times` maps output names to timestamp columns given as microseconds.
        """
        chosen = {output: pads.field(self._stored(name)) for output, name in columns.items()}
        chosen |= {output: self._micros(name) for output, name in times.items()}
        return self.dataset.scanner(columns=chosen, filter=self._between(since, until))

    def _stored(self, name: str) -> str:
        self.type_of(name)
        return self.columns.get(name, name)

    def _micros(self, name: str) -> pc.Expression:
        kind = self.type_of(name)
        if not pa.types.is_timestamp(kind):
            raise DataError(f"{self.name}: column {name!r} of {self.ref.uri} must be a timestamp, found {kind}.")
        stamp = pads.field(self._stored(name)).cast(pa.timestamp(MICROSECONDS, kind.tz), safe=False)
        return stamp.cast(pa.int64())

    def _between(self, since: int | None, until: int | None) -> pc.Expression | None:
        kind = self.type_of(self.timestamp)
        stamp, bounds = pads.field(self._stored(self.timestamp)), []
        # Compared in the column's own type, so that Parquet statistics can skip row groups.
        if since is not None:
            bounds.append(stamp >= pa.scalar(since, pa.timestamp(MICROSECONDS, kind.tz)).cast(kind))
        if until is not None:
            bounds.append(stamp <= pa.scalar(until, pa.timestamp(MICROSECONDS, kind.tz)).cast(kind))
        return bounds[0] & bounds[-1] if bounds else None


def delta_table(lakes: Lakes, source: DataSource, repo_path: Path | None) -> TableRef:
    """Where a data source's table is. Raises DataError for anything but a FileSource of DeltaFormat."""
    if not isinstance(source, FileSource):
        raise DataError(f"{source.name}: expected a FileSource with DeltaFormat, found {type(source).__name__}.")
    if not isinstance(source.file_format, DeltaFormat) and not source.path.startswith(SCHEME):
        raise DataError(
            f"{source.name}: expected file_format=DeltaFormat() for {source.path}, found {source.file_format}."
        )
    return lakes.resolve(source.path, repo_path)


class Sources:
    """Opens data sources; a table asked for twice is read at one version."""

    def __init__(self, lakes: Lakes, repo_path: Path | None) -> None:
        self.lakes, self.repo_path = lakes, repo_path
        self._states: dict[str, TableState] = {}

    def open(self, source: DataSource) -> Source:
        """The source at its table's newest version. Raises what `TableRef.open` raises, and DataError."""
        ref = delta_table(self.lakes, source, self.repo_path)
        if ref.uri not in self._states:
            self._states[ref.uri] = ref.state()
        renamed = {new: old for old, new in (source.field_mapping or {}).items()}
        created = source.created_timestamp_column or None
        return Source(source.name, ref, self._states[ref.uri], source.timestamp_field, created, renamed)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC; a moment without a time zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
