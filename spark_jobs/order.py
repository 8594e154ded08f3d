"""The order: the immutable JSON text that tells a compute application what to compute, from which files, into which folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spark_jobs.interval import Interval

ORDER_VERSION = 1
_BUILD = re.compile(r"[0-9a-f]{16}")
_FIELDS = frozenset({"order_version", "order_id", "table", "definition", "intervals", "inputs", "output"})
_INTERVAL_FIELDS = frozenset({"start", "end", "build"})


class OrderError(ValueError):
    """An order that cannot be read, contradicts itself or asks for another definition than the worker has."""


@dataclass(frozen=True)
class OrderedInterval:
    """A UTC day to compute and the build its rows will be published under (16 hex digits)."""

    interval: Interval
    build: str

    def __post_init__(self) -> None:
        try:
            _ = self.interval.partition
        except ValueError as error:
            raise OrderError(f"order: {error}") from None
        if not _BUILD.fullmatch(self.build):
            raise OrderError(f"order: a build is 16 hex digits, got {self.build!r}")


@dataclass(frozen=True)
class Order:
    """Compute `table` for `intervals` from exactly the files in `inputs` (raw table name -> Parquet file URIs).

    `definition` is the definition hash the worker must have; `output` is the folder that one or more
    executions of the order may write into. Raises OrderError when it contradicts itself.
    """

    order_id: str
    table: str
    definition: str
    intervals: tuple[OrderedInterval, ...]
    inputs: Mapping[str, tuple[str, ...]]
    output: str

    def __post_init__(self) -> None:
        for name in ("order_id", "table", "definition", "output"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise OrderError(f"order: {name} must be a text that is not empty, got {value!r}")
        if not self.intervals:
            raise OrderError(f"order {self.order_id}: no interval to compute")
        starts = [each.interval.partition for each in self.intervals]
        if len(set(starts)) != len(starts):
            raise OrderError(f"order {self.order_id}: an interval appears twice in {', '.join(starts)}")

    @property
    def builds(self) -> dict[str, str]:
        """Partition value -> build, in time order."""
        return {each.interval.partition: each.build for each in sorted(self.intervals, key=lambda each: each.interval)}

    def to_json(self) -> str:
        """The text of the order file; equal orders have equal texts."""
        document = {
            "order_version": ORDER_VERSION,
            "order_id": self.order_id,
            "table": self.table,
            "definition": self.definition,
            "intervals": [
                {"start": each.interval.start.isoformat(), "end": each.interval.end.isoformat(), "build": each.build}
                for each in self.intervals
            ],
            "inputs": {name: list(files) for name, files in sorted(self.inputs.items())},
            "output": self.output,
        }
        return json.dumps(document, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Strict: a missing, unknown or ill-typed field or another order version raises OrderError."""
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise OrderError(f"order: not JSON ({error}); the file may be truncated") from None
        _refuse_other_fields("order", document, _FIELDS)
        if document["order_version"] != ORDER_VERSION:
            raise OrderError(f"order: version {document['order_version']!r}, this worker reads version {ORDER_VERSION}")
        return cls(
            order_id=document["order_id"],
            table=document["table"],
            definition=document["definition"],
            intervals=tuple(_interval(each) for each in _list("intervals", document["intervals"])),
            inputs=_inputs(document["inputs"]),
            output=document["output"],
        )


def _interval(document: Any) -> OrderedInterval:
    _refuse_other_fields("order: interval", document, _INTERVAL_FIELDS)
    if not all(isinstance(value, str) for value in document.values()):
        raise OrderError(f"order: the fields of an interval must be texts, got {document}")
    try:
        interval = Interval.parse(document["start"], document["end"])
    except ValueError as error:
        raise OrderError(f"order: {error}") from None
    return OrderedInterval(interval, document["build"])


def _inputs(document: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(document, dict):
        raise OrderError(f"order: inputs must map raw tables to files, got {document!r}")
    return {name: tuple(_text(name, file) for file in _list(name, files)) for name, files in document.items()}


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise OrderError(f"order: {name} must be a list, got {value!r}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OrderError(f"order: inputs of {name} must be file URIs, got {value!r}")
    return value


def _refuse_other_fields(where: str, document: Any, expected: frozenset[str]) -> None:
    if not isinstance(document, dict):
        raise OrderError(f"{where}: expected an object, got {document!r}")
    missing, unknown = sorted(expected - set(document)), sorted(set(document) - expected)
    if missing or unknown:
        raise OrderError(f"{where}: missing fields {missing}, unknown fields {unknown}")
