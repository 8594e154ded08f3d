"""What an order's run needs on the lake besides the order: the wheel, and a note which run the order has."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from feast_lakehouse.errors import TransportError
from feature_pipelines.orders import ORDERS, read_text
from spark_jobs.wheel import build_wheel, file_name

if TYPE_CHECKING:
    import pyarrow.fs as pafs

    from feast_lakehouse.delta import TableRef
    from feature_pipelines.environment import Environment
    from spark_jobs.order import Order

WHEELS = "_wheels"


@dataclass(frozen=True)
class RunNote:
    """The Databricks run that an order has been given, and its page; what Databricks itself says about it goes first."""

    run_id: int
    page: str


def read_note(ref: TableRef, order: Order) -> RunNote | None:
    """The order's run as an earlier execution noted it; None when there is no note."""
    from feast_lakehouse.writing import writable_filesystem

    text = read_text(writable_filesystem(ref), _note_path(order))
    return RunNote(**json.loads(text)) if text else None


def write_note(ref: TableRef, order: Order, note: RunNote) -> None:
    """Beside the order, after the run was accepted. Raises TransportError when the lake cannot be reached."""
    from feast_lakehouse.writing import writable_filesystem

    _write(writable_filesystem(ref), _note_path(order), json.dumps(asdict(note)).encode(), where=ref.uri)


def ship_wheel(env: Environment, lake: str, seen_as: str) -> str:
    """Writes the wheel of this code to `<lake>/_wheels` unless it is there; the address under which Databricks sees it.

    `seen_as` is the folder that is the same one to Databricks, such as an external volume; empty: the lake's address.
    """
    from feast_lakehouse.writing import writable_filesystem

    ref, name = env.lakes.table(lake, WHEELS), file_name()
    filesystem = writable_filesystem(ref)
    if not _is_there(filesystem, name, where=ref.uri):
        with tempfile.TemporaryDirectory(prefix="my-feast-") as folder:
            content = build_wheel(Path(folder)).read_bytes()
        _write(filesystem, name, content, where=ref.uri)
    return f"{(seen_as or ref.uri).rstrip('/')}/{name}"


def _note_path(order: Order) -> str:
    return f"{ORDERS}/{order.order_id}.databricks.json"


def _is_there(filesystem: pafs.FileSystem, path: str, *, where: str) -> bool:
    import pyarrow.fs as pafs

    try:
        info = filesystem.get_file_info(path)
    except OSError as error:
        raise TransportError(f"{where}/{path}: storage cannot be reached: {error}") from error
    return bool(info.type == pafs.FileType.File)


def _write(filesystem: pafs.FileSystem, path: str, content: bytes, *, where: str) -> None:
    try:
        with filesystem.open_output_stream(path) as stream:
            stream.write(content)
    except OSError as error:
        raise TransportError(f"{where}/{path}: cannot be written: {error}") from error
