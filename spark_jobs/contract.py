"""Contracts of raw and feature tables: frozen descriptions that refuse nonsense when they are made."""

from __future__ import annotations

import math
import re
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta

DTYPES = ("string", "int32", "int64", "float32", "float64", "bool", "timestamp")
"""Column types; a timestamp has microseconds and is UTC."""

LAKES = ("on_prem", "cloud")
EVENT_TIMESTAMP = "event_timestamp"
INTERVAL_START = "interval_start"
BUILD = "build"
RESERVED = frozenset({EVENT_TIMESTAMP, INTERVAL_START, BUILD})
"""Names that the tables themselves use: the event time column and the two partition columns."""

_NUMBERS = frozenset({"int32", "int64", "float32", "float64"})
_ENTITY_KEYS = frozenset({"string", "int32", "int64"})
_RAW_KEYS = _ENTITY_KEYS | {"timestamp"}
_NAME = re.compile(r"[a-z](_?[a-z0-9])*")
_LONGEST_NAME = 63


class ContractError(ValueError):
    """A contract, or the file that holds it, contradicts itself; only its author can mend it."""


@dataclass(frozen=True)
class Column:
    """One column: its type, what a value means, its unit and what values are allowed.

    `minimum` and `maximum` are inclusive, apply to values that are not null, and no NaN satisfies them.
    """

    name: str
    dtype: str
    description: str
    _: KW_ONLY
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    nullable: bool = True

    def __post_init__(self) -> None:
        _refuse_bad_name("column", self.name)
        where = f"column {self.name}"
        if self.dtype not in DTYPES:
            raise ContractError(f"{where}: unknown dtype {self.dtype!r}; known are {', '.join(DTYPES)}")
        _refuse_blank(where, "description", self.description)
        self._refuse_bad_range(where)

    def _refuse_bad_range(self, where: str) -> None:
        bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
        if bounds and self.dtype not in _NUMBERS:
            raise ContractError(f"{where}: a {self.dtype} column has no minimum or maximum")
        if any(math.isnan(bound) for bound in bounds):
            raise ContractError(f"{where}: NaN is no bound")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ContractError(f"{where}: minimum {self.minimum} is greater than maximum {self.maximum}")


@dataclass(frozen=True)
class RawTable:
    """A landed source; `key` identifies a row, `time_column` decides the raw interval (start <= t < end) of a row."""

    name: str
    lake: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time_column: str

    def __post_init__(self) -> None:
        where = f"raw table {self.name}"
        _refuse_bad_table(where, self.name, self.lake, self.description)
        _refuse_bad_columns(where, self.columns)
        if not self.key or len(set(self.key)) != len(self.key):
            raise ContractError(f"{where}: the key must name at least one column and none twice, got {self.key}")
        for name in (*self.key, self.time_column):
            self._refuse_as_key(where, name)
        if self.column(self.time_column).dtype != "timestamp":
            raise ContractError(f"{where}: time column {self.time_column} must be a timestamp")

    def column(self, name: str) -> Column:
        """The column of that name; KeyError when there is none."""
        return {column.name: column for column in self.columns}[name]

    def _refuse_as_key(self, where: str, name: str) -> None:
        names = [column.name for column in self.columns]
        if name not in names:
            raise ContractError(f"{where}: {name} is not among its columns {', '.join(names)}")
        if self.column(name).nullable:
            raise ContractError(f"{where}: key or time column {name} must be nullable=False")
        if self.column(name).dtype not in _RAW_KEYS:
            raise ContractError(
                f"{where}: {name} is {self.column(name).dtype}, a key is {' or '.join(sorted(_RAW_KEYS))}"
            )


@dataclass(frozen=True)
class Input:
    """A raw table that a feature table reads, from `lookback_days` before the interval's start up to its end."""

    raw: RawTable
    _: KW_ONLY
    lookback_days: int = 0

    def __post_init__(self) -> None:
        if self.lookback_days < 0:
            raise ContractError(f"input {self.raw.name}: lookback_days must not be negative, got {self.lookback_days}")


@dataclass(frozen=True)
class FeatureTable:
    """A feature table: one row per keys and event time, with interval_start < event_timestamp <= interval_end.

    `ttl` is how long after its event time a row may still be served; None: until a newer one replaces it.
    """

    name: str
    lake: str
    description: str
    owner: str
    keys: tuple[Column, ...]
    features: tuple[Column, ...]
    inputs: tuple[Input, ...]
    ttl: timedelta | None = None

    def __post_init__(self) -> None:
        where = f"feature table {self.name}"
        _refuse_bad_table(where, self.name, self.lake, self.description)
        _refuse_blank(where, "owner", self.owner)
        _refuse_bad_columns(where, self.keys + self.features)
        for what, parts in (("key", self.keys), ("feature", self.features), ("input", self.inputs)):
            if not parts:
                raise ContractError(f"{where}: needs at least one {what}")
        for key in self.keys:
            if key.nullable or key.dtype not in _ENTITY_KEYS:
                raise ContractError(
                    f"{where}: key {key.name} must be nullable=False and {' or '.join(sorted(_ENTITY_KEYS))}"
                )
        _refuse_repeats(where, "input", [each.raw.name for each in self.inputs])
        if self.ttl is not None and self.ttl <= timedelta(0):
            raise ContractError(f"{where}: ttl must be positive, or None for no limit, got {self.ttl}")

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a row in the order of its files: keys, event time, features."""
        return (*self.keys, EVENT_TIME, *self.features)

    @property
    def lookback_days(self) -> int:
        """The longest look back of its inputs, days."""
        return max(each.lookback_days for each in self.inputs)


def _refuse_bad_table(where: str, name: str, lake: str, description: str) -> None:
    _refuse_bad_name("table", name)
    if lake not in LAKES:
        raise ContractError(f"{where}: unknown lake {lake!r}; known are {', '.join(LAKES)}")
    _refuse_blank(where, "description", description)


def _refuse_bad_columns(where: str, columns: tuple[Column, ...]) -> None:
    names = [column.name for column in columns]
    reserved = sorted(RESERVED & set(names))
    if reserved:
        raise ContractError(f"{where}: {', '.join(reserved)} is reserved")
    _refuse_repeats(where, "column", names)


def _refuse_repeats(where: str, what: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ContractError(f"{where}: {what} {', '.join(repeated)} appears twice")


def _refuse_bad_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ContractError(
            f"{what} name {name!r} must be at most {_LONGEST_NAME} lower case letters, digits and single underscores, letter first"
        )


def _refuse_blank(where: str, what: str, text: str) -> None:
    if not text.strip():
        raise ContractError(f"{where}: {what} must not be blank")


EVENT_TIME = Column(
    EVENT_TIMESTAMP,
    "timestamp",
    "End of the row's period; nothing in the row was known later.",
    unit="UTC",
    nullable=False,
)
"""The event time column of every feature table."""
