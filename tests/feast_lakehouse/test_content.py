from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feast_lakehouse.content import ContentHash
from feast_lakehouse.errors import DataError

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("whole", pa.int32()),
        ("real", pa.float64()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
ROW = st.fixed_dictionaries(
    {
        "text": st.none() | st.sampled_from(["", "a", "b", "ab", "\x00null", "é", "text"]),
        "whole": st.none() | st.integers(-2, 2),
        "real": st.none() | st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf]),
        "flag": st.none() | st.booleans(),
        "at": st.none() | st.integers(-1, 1),
    }
)


def digest(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, size: int = 1000) -> str:
    content = ContentHash(schema)
    for batch in pa.Table.from_pylist(rows, schema=schema).to_batches(max_chunksize=size):
        content.add(batch)
    return content.hexdigest()


def canonical(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(
        repr([(k, row[k] + 0.0 if k == "real" and row[k] is not None else row[k]) for k in SCHEMA.names])
        for row in rows
    )


@settings(deadline=None)
@given(st.lists(ROW, max_size=8), st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_and_batches_do_not_matter(rows: list[dict[str, Any]], random: Any, size: int) -> None:
    shuffled = random.sample(rows, len(rows))
    assert digest(shuffled, size=size) == digest(rows)


@settings(max_examples=500, deadline=None)
@given(st.lists(ROW, max_size=4), st.lists(ROW, max_size=4))
def test_equal_digest_means_equal_rows(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> None:
    assert (digest(left) == digest(right)) == (canonical(left) == canonical(right))


def test_a_digest_is_stable_across_releases() -> None:
    rows = [{"text": "N14228", "whole": 7, "real": 0.5, "flag": True, "at": 1}, dict.fromkeys(SCHEMA.names)]
    assert digest(rows) == "172496b749b153fc"


def test_names_and_types_belong_to_the_content() -> None:
    as_int = digest([{"a": 1}], pa.schema([("a", pa.int64())]))
    assert as_int != digest([{"b": 1}], pa.schema([("b", pa.int64())]))
    assert as_int != digest([{"a": 1}], pa.schema([("a", pa.int32())]))
    assert digest([{"a": 1, "b": 2}], pa.schema([("a", pa.int64()), ("b", pa.int64())])) == digest(
        [{"a": 1, "b": 2}], pa.schema([("b", pa.int64()), ("a", pa.int64())])
    )


def test_large_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"whole": n % 5} for n in range(20)]
    whole = digest(rows)
    monkeypatch.setattr("feast_lakehouse.content.CHUNK_ROWS", 3)
    assert digest(rows) == whole


def test_types_without_a_canonical_form_are_refused() -> None:
    with pytest.raises(DataError, match=r"a: type list<.*> cannot be landed"):
        ContentHash(pa.schema([("a", pa.list_(pa.int64()))]))
