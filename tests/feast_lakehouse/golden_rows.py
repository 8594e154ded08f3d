"""The rows behind golden/stock_feast.json: every supported type, with the values that serializers get wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from feast import Entity, FeatureView, Field, FileSource, RepoConfig
from feast.data_format import DeltaFormat
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, PrimitiveFeastType, String, UnixTimestamp
from feast.value_type import ValueType

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATER = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
SCALARS: dict[str, PrimitiveFeastType] = {
    "int32": Int32, "int64": Int64, "float32": Float32, "float64": Float64,
    "string": String, "bytes": Bytes, "bool": Bool, "stamp": UnixTimestamp,
}  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class GoldenView:
    """A view, its types by column, and its rows; `ts` is the event time."""

    name: str
    keys: dict[str, PrimitiveFeastType]
    features: dict[str, PrimitiveFeastType | Array]
    rows: list[Row]

    def feature_view(self, path: str = "nowhere") -> FeatureView:
        types = {**self.keys, **self.features}
        return FeatureView(
            name=self.name,
            entities=[Entity(name=n, join_keys=[n], value_type=ValueType[t.name]) for n, t in self.keys.items()],
            schema=[Field(name=n, dtype=t) for n, t in types.items()],
            source=FileSource(name=self.name, path=path, file_format=DeltaFormat(), timestamp_field="ts"),
        )


def _row(ts: datetime, values: list[Any], **keys: Any) -> Row:
    return {"ts": ts, **keys, **dict(zip(SCALARS, values, strict=True))}


_OLD = EPOCH - timedelta(microseconds=1)
_MOST = [2**31 - 1, 2**63 - 1, 3.4028234663852886e38, 1.7976931348623157e308, "é✈\U0001f6eb\0", b"\xff\0", True, LATER]
_LEAST = [
    -(2**31),
    -(2**63),
    1.401298464324817e-45,
    5e-324,
    "",
    b"",
    False,
    EPOCH - timedelta(days=36_525, seconds=0.5),
]
_NAMES = {name: {"number": n, "origin": o} for name, n, o in [("a", 1, "JFK"), ("b", -1, "ÜRÜ"), ("c", 2**63 - 1, "")]}

VIEWS = (
    GoldenView(
        "scalars",
        {"number": Int64, "origin": String},
        dict(SCALARS),
        [
            _row(LATER, _MOST, **_NAMES["a"]),
            _row(EPOCH, _LEAST, **_NAMES["b"]),
            _row(_OLD, [None] * 8, **_NAMES["c"]),
            _row(LATER, [0, 0, 0.0, 0.0, "0", b"\0", False, EPOCH], number=0, origin="zero"),
            _row(LATER, [0, 0, -0.0, -0.0, "-0", b"-0", False, EPOCH], number=5, origin="negative zero"),
            _row(LATER, [-1, -1, math.nan, math.nan, "x" * 127, b"x" * 128, True, _OLD], number=2, origin="nan"),
            _row(LATER, [1, 1, math.inf, -math.inf, "x" * 20_000, b"y" * 300, True, LATER], number=3, origin="inf"),
            _row(LATER, [127, 128, 0.1, 0.1, "NaN", b"NaN", None, None], number=4, origin="some null"),
        ],
    ),
    GoldenView(
        "lists",
        {"id": String},
        {name: Array(kind) for name, kind in SCALARS.items()},
        [
            {"id": "full", "ts": LATER, **{n: [m, v] for n, m, v in zip(SCALARS, _MOST, _LEAST, strict=True)}},
            {"id": "empty", "ts": LATER, **{name: [] for name in SCALARS}},
            {"id": "null", "ts": LATER, **dict.fromkeys(SCALARS)},
            {"id": "long", "ts": LATER, **{name: [value] * 150 for name, value in zip(SCALARS, _MOST, strict=True)}},
            {
                "id": "nan",
                "ts": LATER,
                **dict.fromkeys(SCALARS),
                "float32": [math.nan, -math.inf],
                "float64": [math.nan],
            },
        ],
    ),
    GoldenView("by_bytes", {"digest": Bytes}, {"x": Int64}, [{"digest": b"\0\xff", "x": 1, "ts": LATER}]),
    GoldenView("by_int32", {"small": Int32}, {"x": Int64}, [{"small": -(2**31), "x": 1, "ts": LATER}]),
    GoldenView("by_time", {"moment": UnixTimestamp}, {"x": Int64}, [{"moment": LATER, "x": 1, "ts": LATER}]),
    GoldenView(
        "by_three",
        {"zulu": String, "alpha": Int32, "mike": Int64},
        {"é": String, "x": Float64},
        [{"zulu": "z", "alpha": 1, "mike": 2, "é": "e", "x": 0.1, "ts": LATER}],
    ),
    GoldenView("of_nobody", {}, {"x": Float64, "y": Array(Float32)}, [{"x": 2.5, "y": [1.5], "ts": LATER}]),
)


def config(connection_string: str) -> RepoConfig:
    """A stock Feast configuration."""
    return RepoConfig(
        project="golden",
        provider="local",
        registry="unused.db",
        online_store={"type": "redis", "connection_string": connection_string},
        entity_key_serialization_version=3,
    )
