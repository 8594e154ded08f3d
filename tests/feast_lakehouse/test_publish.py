from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, StaleInputs
from feast_lakehouse.publish import Published, publish
from feast_lakehouse.writing import writable_filesystem
from tests.feast_lakehouse.lake_tables import (
    PART,
    SCHEMA,
    content,
    files,
    keys_of,
    parquet,
    read,
    rows_of,
    stage,
    write,
)
from tests.feast_lakehouse.writer_process import STEPS, start

DAY, NEXT, THIRD = "2013-01-01", "2013-01-02", "2013-01-03"


class Order:
    """A staged order: what a compute run left and its report says."""

    def __init__(
        self, ref: TableRef, name: str, rows: Mapping[str, int], build: str, schema: pa.Schema = SCHEMA, first: int = 0
    ) -> None:
        self.ref, self.schema = ref, schema
        self.builds = dict.fromkeys(rows, build)
        self.rows = dict(rows)
        staged = {day: [{**r, **_extra(schema)} for r in rows_of(day, n, first=first)] for day, n in rows.items()}
        self.uri = stage(ref, name, staged, schema)
        self.folder = f"staging/{name}"

    def publish(self, current: Callable[[], Mapping[str, str]] | None = None, **options: Any) -> Published:
        given: dict[str, Any] = {"schema": self.schema, "rows": self.rows, **options}
        return publish(self.ref, self.uri, self.builds, current_builds=current or (lambda: self.builds), **given)

    def request(self) -> dict[str, Any]:
        """For a process of its own."""
        where = {"uri": self.ref.uri, "options": dict(self.ref.storage_options)}
        return {"do": "publish", **where, "staged": self.uri, "builds": self.builds, "rows": self.rows}

    def file(self, day: str) -> str:
        return f"{self.folder}/interval_start={day}/{PART}"

    def bytes_of(self, day: str) -> bytes:
        return content(self.ref, self.file(day))

    def overwrite(self, day: str, new: bytes) -> None:
        write(self.ref, self.file(day), new)

    def move(self, day: str, path: str) -> None:
        write(self.ref, path, self.bytes_of(day))
        lose(self)


def _extra(schema: pa.Schema) -> dict[str, Any]:
    return {name: "UA" for name in schema.names if name not in SCHEMA.names}


def live_files(ref: TableRef, day: str) -> int:
    return sum(1 for entry in ref.state().files.values() if entry.partition["interval_start"] == day)


def test_several_intervals_become_one_commit_where_they_lie(ref: TableRef) -> None:
    order = Order(ref, "o1", {DAY: 3, NEXT: 2, THIRD: 0}, "aaaa")
    assert order.publish() == Published(0, changed=True, rows=5)
    assert ref.live_builds() == {DAY: "aaaa", NEXT: "aaaa", THIRD: "aaaa"}
    assert [{name: row[name] for name in SCHEMA.names} for row in read(ref)] == rows_of(DAY, 3) + rows_of(NEXT, 2)
    assert sum(path.startswith("staging/o1/") for path in ref.state().files) == 2
    table = ref.open()
    assert table.metadata().configuration["delta.logRetentionDuration"] == "interval 365 days"
    assert table.transaction_version(f"aircraft_daily/{THIRD}") == 1
    assert json.loads(table.history(1)[0]["builds"]) == order.builds


def test_publishing_again_is_no_commit(ref: TableRef) -> None:
    order = Order(ref, "o1", {DAY: 3, NEXT: 0}, "aaaa")
    order.publish()
    assert order.publish() == Published(0, changed=False, rows=3)
    assert order.publish(force=True) == Published(0, changed=False, rows=3)
    assert Order(ref, "o2", {DAY: 3}, "aaaa").publish() == Published(0, changed=False, rows=3)
    assert Order(ref, "o3", {DAY: 3}, "aaaa", first=5).publish(force=True) == Published(1, changed=True, rows=3)
    assert keys_of(ref, DAY) == ["N0005", "N0006", "N0007"]


def test_a_newer_build_replaces_only_its_intervals(ref: TableRef) -> None:
    Order(ref, "o1", {DAY: 3, NEXT: 2}, "aaaa").publish()
    assert Order(ref, "o2", {NEXT: 4, THIRD: 1}, "bbbb").publish() == Published(1, changed=True, rows=5)
    assert ref.live_builds() == {DAY: "aaaa", NEXT: "bbbb", THIRD: "bbbb"}
    assert [len(keys_of(ref, day)) for day in (DAY, NEXT, THIRD)] == [3, 4, 1]


def test_an_order_that_comes_back_after_part_of_it_was_replaced(ref: TableRef) -> None:
    first = Order(ref, "o1", {DAY: 3, NEXT: 2}, "aaaa")
    first.publish()
    Order(ref, "o2", {NEXT: 4}, "bbbb").publish()
    assert first.publish() == Published(2, changed=True, rows=5)  # the inputs went back to what they were
    assert [len(keys_of(ref, day)) for day in (DAY, NEXT)] == [3, 2]
    assert live_files(ref, DAY) == 1


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("builds", [("aaaa", "aaaa"), ("aaaa", "bbbb")])
def test_two_first_publishers_of_one_interval_do_not_double(
    ref: TableRef, *, exists: bool, builds: tuple[str, str]
) -> None:
    if exists:
        Order(ref, "o0", {NEXT: 1}, "aaaa").publish()
    orders = [Order(ref, f"o{n + 1}", {DAY: 3}, build, first=n * 10) for n, build in enumerate(builds)]
    meet = threading.Barrier(2)

    def run(order: Order) -> Published | StaleInputs:
        met = False

        def current() -> Mapping[str, str]:
            nonlocal met
            if not met:  # both have looked at the table and are about to commit
                met = True
                meet.wait(30)
                return order.builds
            return {DAY: builds[1]}

        try:
            return order.publish(current)
        except StaleInputs as stale:
            return stale

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, orders))
    assert len(keys_of(ref, DAY)) == 3
    assert live_files(ref, DAY) == 1
    assert sum(isinstance(result, Published) and result.changed for result in results) >= 1
    if builds[0] == builds[1]:
        assert sum(isinstance(result, Published) and result.changed for result in results) == 1
    else:
        assert ref.live_builds()[DAY] == "bbbb"


def test_two_first_publishers_in_two_processes(ref: TableRef) -> None:
    orders = [Order(ref, f"o{n}", {DAY: 50}, "aaaa") for n in range(2)]
    children = [
        start(
            {
                "do": "publish",
                "uri": ref.uri,
                "options": dict(ref.storage_options),
                "staged": o.uri,
                "builds": o.builds,
                "rows": o.rows,
            }
        )
        for o in orders
    ]
    answers = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    assert sorted(json.loads(out)["changed"] for out, _ in answers) == [False, True]
    assert len(keys_of(ref, DAY)) == 50


def test_publishers_of_different_intervals_all_land(ref: TableRef) -> None:
    days = [f"2013-02-{day:02}" for day in range(1, 9)]
    orders = [Order(ref, f"o{day}", {day: 2}, "aaaa") for day in days]
    meet = threading.Barrier(len(days))

    def run(order: Order) -> bool:
        met: list[int] = []

        def current() -> Mapping[str, str]:
            if not met:
                met.append(meet.wait(60))
            return order.builds

        return order.publish(current).changed

    with ThreadPoolExecutor(len(days)) as pool:
        assert all(pool.map(run, orders))
    assert sorted(ref.live_builds()) == days
    assert len(read(ref)) == 16


def test_overlapping_publishers_each_replace_whole_intervals(ref: TableRef) -> None:
    for lap in range(3):
        orders = [Order(ref, f"{lap}-{n}", {DAY: 2 + n, NEXT: 2 + n}, f"{lap}{n}") for n in range(4)]
        with ThreadPoolExecutor(4) as pool:
            assert all(result.changed for result in pool.map(lambda order: order.publish(force=True), orders))
        builds = ref.live_builds()
        assert builds[DAY] == builds[NEXT]
        assert len(keys_of(ref, DAY)) == len(keys_of(ref, NEXT)) == 2 + int(builds[DAY][1])


def test_a_publisher_paused_while_newer_inputs_were_published_stops(ref: TableRef) -> None:
    old, new = Order(ref, "old", {DAY: 3, NEXT: 3}, "aaaa"), Order(ref, "new", {DAY: 7}, "bbbb")
    truth = dict(old.builds)

    def pause_here() -> Mapping[str, str]:
        before = dict(truth)
        if truth == old.builds:
            truth.update(new.builds)  # the source moves and somebody publishes what follows from it
            new.publish()
        return before

    with pytest.raises(StaleInputs, match=r"2013-01-01: aaaa; now 2013-01-01: bbbb.*Nothing was published"):
        old.publish(pause_here)
    assert ref.live_builds() == new.builds
    assert len(read(ref)) == 7
    assert ref.state().version == 0


def test_inputs_that_moved_before_the_publish_stop_it(ref: TableRef) -> None:
    order = Order(ref, "o1", {DAY: 3}, "aaaa")
    for current in ({DAY: "bbbb"}, {}):
        with pytest.raises(StaleInputs):
            order.publish(lambda current=current: current)
    assert not ref.exists()
    assert {path.split("/")[0] for path in files(ref)} == {"staging"}


def lose(order: Order) -> None:
    writable_filesystem(order.ref).delete_file(order.file(DAY))


def truncate(order: Order) -> None:
    whole = order.bytes_of(DAY)
    order.overwrite(DAY, whole[: len(whole) // 2])


def empty(order: Order) -> None:
    order.overwrite(DAY, b"")


def foreign(order: Order) -> None:
    order.move(DAY, f"{order.folder}/interval_start=2014-01-01/{PART}")


def misplaced(order: Order) -> None:
    order.move(DAY, f"{order.folder}/part-1.parquet")


def rewrite(order: Order, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(pa.BufferReader(order.bytes_of(DAY)), partitioning=None)
    order.overwrite(DAY, parquet(change(table)))


def retyped(order: Order) -> None:
    rewrite(order, lambda table: table.set_column(2, "flights", table["flights"].cast(pa.string())))


def dropped(order: Order) -> None:
    rewrite(order, lambda table: table.drop_columns(["flights"]).append_column("surplus", table["delay"]))


def nulls(order: Order) -> None:
    rewrite(order, lambda table: table.set_column(0, "tailnum", pa.array(["N1", None, "N2"])))


def doubled(order: Order) -> None:
    rewrite(order, lambda table: pa.concat_tables([table, table]))


def unreported(order: Order) -> None:
    del order.rows[DAY]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose, "2013-01-01: the report says 3 rows, the staged files hold 0"),
        (truncate, "not a complete Parquet file"),
        (empty, r"not a complete Parquet file \(0 bytes\)"),
        (foreign, "foreign partition: expected a file directly inside interval_start=2013-01-01"),
        (misplaced, "foreign partition"),
        (retyped, "column flights: expected int64, found string"),
        (dropped, r"(?s)column flights: expected int64, missing.*column surplus: not in the contract, found double"),
        (nulls, "column tailnum: 1 nulls, none allowed"),
        (doubled, "the report says 3 rows, the staged files hold 6"),
        (unreported, "the report does not mention it"),
    ],
)
def test_broken_promises_publish_nothing(ref: TableRef, damage: Callable[[Order], None], message: str) -> None:
    Order(ref, "o1", {DAY: 2, THIRD: 1}, "aaaa").publish()
    before = read(ref)
    order = Order(ref, "o2", {DAY: 3, NEXT: 2}, "bbbb")
    damage(order)
    with pytest.raises(DataError, match=message):
        order.publish()
    assert read(ref) == before
    assert ref.state().version == 0
    assert files(ref, order.folder)  # staged rows are kept


def test_every_broken_promise_is_named_at_once(ref: TableRef) -> None:
    order = Order(ref, "o1", {DAY: 3, NEXT: 2}, "aaaa")
    truncate(order)
    rewritten = pq.read_table(pa.BufferReader(order.bytes_of(NEXT)), partitioning=None).drop_columns(["delay"])
    order.overwrite(NEXT, parquet(rewritten))
    with pytest.raises(DataError, match=r"(?s)2 promises broken.*not a complete.*delay: expected double, missing"):
        order.publish()
    assert not ref.exists()


def test_a_new_nullable_column_is_accepted(ref: TableRef) -> None:
    Order(ref, "o1", {DAY: 2}, "aaaa").publish()
    wider = pa.schema([*SCHEMA, pa.field("carrier", pa.string())])
    assert Order(ref, "o2", {NEXT: 2}, "bbbb", wider).publish().changed
    assert [row["carrier"] for row in read(ref)] == [None, None, "UA", "UA"]


def test_other_schema_changes_are_refused(ref: TableRef) -> None:
    Order(ref, "o1", {DAY: 2}, "aaaa").publish()
    required = pa.schema([*SCHEMA, pa.field("carrier", pa.string(), nullable=False)])
    with pytest.raises(DataError, match="carrier: a new column must be nullable"):
        Order(ref, "o2", {NEXT: 2}, "bbbb", required).publish()
    narrower = pa.schema([column for column in SCHEMA if column.name != "delay"])
    staged = Order(ref, "o3", {NEXT: 0}, "bbbb", narrower)
    with pytest.raises(DataError, match="delay: expected double, missing"):
        staged.publish()
    assert len(read(ref)) == 2
    assert ref.state().version == 0


def test_staging_outside_the_table_is_refused(ref: TableRef, lake: TableRef) -> None:
    order = Order(ref, "o1", {DAY: 2}, "aaaa")
    for elsewhere in (f"{lake.uri}/other/o1", ref.uri, f"{ref.uri}/staging/../../x"):
        order.uri = elsewhere
        with pytest.raises(DataError, match="expected a staging folder inside the table"):
            order.publish()


def test_an_order_needs_intervals(ref: TableRef) -> None:
    with pytest.raises(DataError, match="at least one interval"):
        publish(ref, f"{ref.uri}/staging/x", {}, schema=SCHEMA, rows={}, current_builds=dict)


@pytest.mark.parametrize("step", STEPS["publish"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_publisher_killed_at_any_step_can_be_run_again(ref: TableRef, when: str, step: str) -> None:
    Order(ref, "o1", {DAY: 2}, "aaaa").publish()
    order = Order(ref, "o2", {DAY: 4, NEXT: 0}, "bbbb")
    request = {
        "do": "publish",
        "uri": ref.uri,
        "options": dict(ref.storage_options),
        "staged": order.uri,
        "builds": order.builds,
        "rows": order.rows,
    }
    child = start({**request, "kill": [when, step]})
    child.communicate(timeout=300)
    assert child.returncode == -9
    committed = (when, step) == ("after", "replace_intervals")
    assert len(read(ref)) == (4 if committed else 2)
    assert order.publish().changed is not committed
    assert len(read(ref)) == 4
    assert ref.live_builds() == order.builds


def test_racing_creations_of_a_table_leave_one(lake: TableRef) -> None:
    for lap in range(10):
        ref = TableRef(f"{lake.uri}/features/t{lap}", lake.storage_options)
        orders = [Order(ref, f"o{n}", {DAY: 3}, build, first=n) for n, build in enumerate(("aaaa", "bbbb", "cccc"))]
        meet = threading.Barrier(3)

        def run(order: Order, meet: threading.Barrier = meet) -> bool:
            waited: list[int] = []

            def current() -> Mapping[str, str]:
                if not waited:
                    waited.append(meet.wait(30))
                return order.builds

            return order.publish(current).changed

        with ThreadPoolExecutor(3) as pool:
            assert all(pool.map(run, orders))
        assert live_files(ref, DAY) == 1
        log = [content(ref, path) for path in files(ref, "_delta_log") if path.endswith(".json")]
        assert sum(b'"metaData"' in commit for commit in log) == 1


def test_vacuum_sweeps_what_lost_and_keeps_what_is_live_and_the_orders(ref: TableRef) -> None:
    lost, live = Order(ref, "o1", {DAY: 3}, "aaaa"), Order(ref, "o2", {DAY: 4}, "bbbb")
    lost.publish()
    live.publish()
    write(ref, "_orders/o2.json", b"{}")
    ref.open().vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    left = files(ref)
    assert live.file(DAY) in left
    assert "_orders/o2.json" in left
    assert lost.file(DAY) not in left
    assert len(read(ref)) == 4
