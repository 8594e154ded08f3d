"""What Spark left in a staging folder, checked file by file against what its report and its contract promise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from feast_lakehouse.commits import NewFile, from_info
from feast_lakehouse.delta import INTERVAL_COLUMN, TableRef
from feast_lakehouse.errors import DataError
from feast_lakehouse.schemas import differences
from feast_lakehouse.storage_errors import is_outage, readable

SAFE_PATH: Final = re.compile(r"[A-Za-z0-9._=/-]+")
"""Delta percent-encodes anything else in the log; staged names never need it."""


@dataclass(frozen=True)
class Promise:
    """What an order and its report promise: build and rows of each interval, and the columns of every file."""

    builds: Mapping[str, str]
    rows: Mapping[str, int]
    schema: pa.Schema


@dataclass(frozen=True)
class _Staging:
    """A staging folder, relative to its table's, and how it is read."""

    ref: TableRef
    filesystem: pafs.FileSystem
    folder: str
    promise: Promise


def staged_files(ref: TableRef, filesystem: pafs.FileSystem, staged_uri: str, promise: Promise) -> list[NewFile]:
    """The staged data files, ready to commit where they lie; intervals promised as empty may have none.

    Raises DataError naming every broken promise at once: a folder outside the table, a file outside its interval's
    partition, an interval not ordered, a file that is no complete Parquet file, columns missing, extra or retyped,
    nulls where none are allowed, another number of rows than reported. TransportError for unreachable storage.
    """
    staging = _Staging(ref, filesystem, _inside(ref, staged_uri), promise)
    problems, files = _unreported(promise), []
    for info in _listed(staging, staged_uri):
        file, broken = _checked(staging, info)
        problems += [f"{info.path}: {sentence}" for sentence in broken]
        files += [file] if file else []
    problems += _row_counts(files, promise) if not problems else []
    if problems:
        head = f"{ref.uri}: {len(problems)} promises broken by {staged_uri}"
        raise DataError("\n  ".join([head, *problems]) + "\nStaged rows kept; nothing was published.")
    return files


def _listed(staging: _Staging, staged_uri: str) -> list[Any]:
    """The folder's data files, sorted. Blobs without bytes that stand for a folder (hadoop-azure makes them) are none."""
    try:
        selector = pafs.FileSelector(staging.folder, recursive=True, allow_not_found=True)
        found = [info for info in staging.filesystem.get_file_info(selector) if info.is_file]
    except (DeltaError, OSError) as error:
        raise staging.ref.failed(f"the staging folder {staged_uri} cannot be listed", error) from None
    folders = {str(parent) for info in found for parent in PurePosixPath(info.path).parents} | {staging.folder}
    data = (info for info in found if _is_data(info.path, staging.folder))
    return sorted((info for info in data if info.size or info.path not in folders), key=lambda info: str(info.path))


def _inside(ref: TableRef, staged_uri: str) -> str:
    root, staged = (uri.removeprefix("file://").rstrip("/") for uri in (ref.uri, staged_uri))
    folder = staged.removeprefix(f"{root}/")
    if folder == staged or ".." in folder.split("/") or not SAFE_PATH.fullmatch(folder):
        raise DataError(f"{staged_uri}: expected a staging folder inside the table {ref.uri}. Nothing was published.")
    return folder


def _is_data(path: str, folder: str) -> bool:
    names = path.removeprefix(f"{folder}/").split("/")
    return names[0] != "report.json" and not any(name.startswith(("_", ".")) for name in names)


def _unreported(promise: Promise) -> list[str]:
    silent = sorted(set(promise.builds) - set(promise.rows))
    return [f"{interval}: ordered, but the report does not mention it" for interval in silent]


def _checked(staging: _Staging, info: Any) -> tuple[NewFile | None, list[str]]:
    promise = staging.promise
    partition, _, name = info.path.removeprefix(f"{staging.folder}/").rpartition("/")
    column, _, interval = partition.partition("=")
    if column != INTERVAL_COLUMN or interval not in promise.builds or not SAFE_PATH.fullmatch(name):
        expected = ", ".join(f"{INTERVAL_COLUMN}={start}" for start in sorted(promise.builds))
        return None, [f"foreign partition: expected a file directly inside {expected}"]
    try:
        with staging.filesystem.open_input_file(info.path) as source:
            parquet = pq.ParquetFile(source)
            problems = differences(promise.schema, parquet.schema_arrow) or _nulls(parquet, promise.schema)
            rows = int(parquet.metadata.num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        if is_outage(error):
            raise staging.ref.failed(f"the staged file {info.path} cannot be read", error) from None
        return None, [f"not a complete Parquet file ({info.size} bytes): {readable(str(error))}"]
    build = promise.builds[interval]
    return from_info(info, path=info.path, rows=rows, interval=interval, build=build), problems


def _nulls(parquet: pq.ParquetFile, schema: pa.Schema) -> list[str]:
    required = [column.name for column in schema if not column.nullable]
    counts = {name: _null_count(parquet, name) for name in required}
    return [f"column {name}: {count} nulls, none allowed" for name, count in counts.items() if count]


def _null_count(parquet: pq.ParquetFile, name: str) -> int:
    metadata = parquet.metadata
    position = parquet.schema_arrow.names.index(name)
    statistics = [metadata.row_group(group).column(position).statistics for group in range(metadata.num_row_groups)]
    if all(found is not None and found.has_null_count for found in statistics):
        return sum(int(found.null_count) for found in statistics)
    return int(parquet.read(columns=[name]).column(name).null_count)


def _row_counts(files: list[NewFile], promise: Promise) -> list[str]:
    staged = {interval: sum(f.rows for f in files if f.interval == interval) for interval in promise.builds}
    return [
        f"{interval}: the report says {promise.rows[interval]} rows, the staged files hold {rows}"
        for interval, rows in sorted(staged.items())
        if rows != promise.rows[interval]
    ]
