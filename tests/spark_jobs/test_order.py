"""Orders and reports: what is written is read back, anything else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.interval import Interval
from spark_jobs.order import Order, OrderedInterval, OrderError
from spark_jobs.report import IntervalResult, Report, ReportError

texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
builds = st.text("0123456789abcdef", min_size=16, max_size=16)
ordered = st.builds(OrderedInterval, st.dates().filter(lambda day: 1 < day.year < 9999).map(Interval.day), builds)
orders = st.builds(
    Order,
    texts,
    texts,
    texts,
    st.lists(ordered, min_size=1, max_size=5, unique_by=lambda each: each.interval).map(tuple),
    st.dictionaries(texts, st.lists(texts).map(tuple), max_size=2),
    texts,
)
ORDER = Order(
    order_id="o1",
    table="aircraft_daily",
    definition="d" * 16,
    intervals=(
        OrderedInterval(Interval.day("2013-01-02"), "b" * 16),
        OrderedInterval(Interval.day("2013-01-01"), "a" * 16),
    ),
    inputs={"flights": ("file:///a.parquet",)},
    output="file:///staging/o1",
)
REPORT = Report("o1", "aircraft_daily", "file:///staging/o1/x", {"2013-01-01": IntervalResult("a" * 16, 5)}, (), 1.5)


@given(orders)
def test_an_order_survives_its_text(order: Order) -> None:
    assert Order.from_json(order.to_json()) == order


def test_builds_are_in_time_order() -> None:
    assert list(ORDER.builds.items()) == [("2013-01-01", "a" * 16), ("2013-01-02", "b" * 16)]


def _dropped(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(name)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_dropped("table"), r"missing fields \['table'\]"),
        (lambda document: document.update(force=True), r"unknown fields \['force'\]"),
        (lambda document: document.update(order_version=2), "version 2, this worker reads version 1"),
        (lambda document: document.update(order_id=7), "order_id must be a text that is not empty, got 7"),
        (lambda document: document.update(output=""), "output must be a text"),
        (lambda document: document.update(intervals=[]), "no interval to compute"),
        (lambda document: document.update(intervals="all"), "intervals must be a list, got 'all'"),
        (lambda document: document.update(intervals=["2013-01-01"]), "expected an object"),
        (lambda document: document["intervals"][0].update(build="xyz"), "a build is 16 hex digits, got 'xyz'"),
        (lambda document: document["intervals"][0].update(build=None), "must be texts"),
        (lambda document: document["intervals"][0].update(end="2013-01-05T00:00:00+00:00"), "Only a UTC day"),
        (lambda document: document["intervals"][0].update(start="2013-01-02T00:00:00"), "start must be UTC"),
        (lambda document: document["intervals"].append(document["intervals"][0]), "an interval appears twice"),
        (lambda document: document.update(inputs=[]), "inputs must map raw tables to files"),
        (lambda document: document.update(inputs={"flights": "a.parquet"}), "flights must be a list"),
        (lambda document: document.update(inputs={"flights": [""]}), "inputs of flights must be file URIs"),
    ],
)
def test_a_spoilt_order_is_refused(spoil: Callable[[dict[str, Any]], object], complaint: str) -> None:
    document = json.loads(ORDER.to_json())
    spoil(document)
    with pytest.raises(OrderError, match=complaint):
        Order.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", ORDER.to_json()[:-20], "[]", "null"])
def test_a_truncated_or_foreign_order_is_refused(text: str) -> None:
    with pytest.raises(OrderError, match=r"truncated|expected an object"):
        Order.from_json(text)


def test_a_report_survives_its_text_which_is_one_line() -> None:
    assert Report.from_json(REPORT.to_json()) == REPORT
    assert "\n" not in REPORT.to_json()
    assert REPORT.rows == {"2013-01-01": 5}


@pytest.mark.parametrize("text", ["", REPORT.to_json()[:-9], REPORT.to_json() * 2, "[]", "{}", "7"])
def test_a_truncated_doubled_or_foreign_report_is_refused(text: str) -> None:
    with pytest.raises(ReportError):
        Report.from_json(text)


def test_a_verdict_says_where_what_and_what_was_kept() -> None:
    broken = Report(
        "o1", "aircraft_daily", "file:///x", REPORT.intervals, ("flights: minimum 1, found 0 in 14 rows", "b"), 1.5
    )
    assert broken.verdict().splitlines() == [
        "aircraft_daily 2013-01-01: 2 promises broken",
        "  flights: minimum 1, found 0 in 14 rows",
        "  b",
        "Staged rows kept at file:///x; nothing was published.",
    ]
