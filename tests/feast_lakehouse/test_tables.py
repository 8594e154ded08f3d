from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.tables import Written, write_interval
from tests.feast_lakehouse.lake_tables import SCHEMA, batches_of, keys_of, read, rows_of
from tests.feast_lakehouse.writer_process import REPOSITORY, STEPS, start

DAY, NEXT = "2013-01-01", "2013-01-02"


def land(ref: TableRef, day: str = DAY, count: int = 5, **options: bool) -> Written:
    return write_interval(ref, day, batches_of(rows_of(day, count)), schema=SCHEMA, **options)


def test_an_interval_lands_in_one_commit(ref: TableRef) -> None:
    written = land(ref)
    assert written == Written(0, written.build, 5, changed=True)
    assert ref.live_builds() == {DAY: written.build}
    stored = [{name: row[name] for name in SCHEMA.names} for row in read(ref)]
    assert stored == rows_of(DAY, 5)
    entry = next(iter(ref.state().files.values()))
    assert entry.path.startswith(f"interval_start={DAY}/build={written.build}/part-")
    assert entry.rows == 5
    properties = ref.open().metadata().configuration
    assert properties["delta.logRetentionDuration"] == "interval 365 days"


def test_the_same_rows_again_are_no_commit(ref: TableRef) -> None:
    first = land(ref)
    rows = rows_of(DAY, 5)
    random.Random(1).shuffle(rows)
    again = write_interval(ref, DAY, batches_of(rows, size=2), schema=SCHEMA)
    assert again == Written(0, first.build, 5, changed=False)
    assert ref.state().version == 0


def test_a_correction_replaces_the_interval_and_only_it(ref: TableRef) -> None:
    land(ref)
    land(ref, NEXT, 3)
    corrected = rows_of(DAY, 5)
    corrected[0]["delay"] = 99.0
    assert write_interval(ref, DAY, batches_of(corrected), schema=SCHEMA).changed
    assert [row["delay"] for row in read(ref) if row["interval_start"] == DAY] == [99.0, 0.5, 1.0, 1.5, 2.0]
    assert len(keys_of(ref, NEXT)) == 3


def test_an_interval_without_rows_leaves_a_zero_row_file(ref: TableRef) -> None:
    written = write_interval(ref, DAY, [], schema=SCHEMA)
    assert (written.rows, written.changed) == (0, True)
    assert ref.live_builds() == {DAY: written.build}
    assert read(ref) == []
    assert not write_interval(ref, DAY, [], schema=SCHEMA).changed


def test_shrinking_needs_permission(ref: TableRef) -> None:
    before = land(ref)
    for fewer in (4, 0):
        with pytest.raises(DataError, match=rf"5 rows are there, the source now has {fewer}.*allow_shrink"):
            land(ref, count=fewer)
    assert ref.live_builds() == {DAY: before.build}
    assert land(ref, count=4, allow_shrink=True).rows == 4
    assert len(read(ref)) == 4


def test_batches_that_break_the_schema_land_nothing(ref: TableRef) -> None:
    bad = pa.schema(
        [("tailnum", pa.int64()), ("event_timestamp", pa.timestamp("us", tz="UTC")), ("extra", pa.string())]
    )
    batch = pa.RecordBatch.from_pylist([{"tailnum": 1, "event_timestamp": 0, "extra": "x"}], schema=bad)
    with pytest.raises(DataError) as caught:
        write_interval(ref, DAY, [*batches_of(rows_of(DAY, 2)), batch], schema=SCHEMA)
    message = str(caught.value)
    for part in ("4 promises broken", "tailnum: expected string, found int64", "flights: expected int64, missing",
                 "delay: expected double, missing", "extra: not in the contract, found string"):  # fmt: skip
        assert part in message
    assert not ref.exists()


def test_a_null_where_none_is_allowed_lands_nothing(ref: TableRef) -> None:
    optional = pa.schema([column.with_nullable(nullable=True) for column in SCHEMA])
    rows = [*rows_of(DAY, 2), {**rows_of(DAY, 1)[0], "tailnum": None}]
    with pytest.raises(DataError, match="column tailnum: 1 nulls, none allowed"):
        write_interval(ref, DAY, batches_of(rows, schema=optional), schema=SCHEMA)
    assert not ref.exists()


def test_columns_may_come_in_another_order(ref: TableRef) -> None:
    first = land(ref)
    turned = pa.schema(list(reversed(list(SCHEMA))))
    assert write_interval(ref, DAY, batches_of(rows_of(DAY, 5), schema=turned), schema=SCHEMA).build == first.build


def test_a_new_nullable_column_is_accepted_and_a_retyped_one_is_not(ref: TableRef) -> None:
    land(ref)
    wider = pa.schema([*SCHEMA, pa.field("carrier", pa.string())])
    rows = [{**row, "carrier": "UA"} for row in rows_of(NEXT, 2)]
    assert write_interval(ref, NEXT, batches_of(rows, schema=wider), schema=wider).changed
    assert [row["carrier"] for row in read(ref)] == [None] * 5 + ["UA"] * 2
    version = ref.state().version
    retyped = pa.schema([*list(SCHEMA)[:2], ("flights", pa.string()), ("delay", pa.float64())])
    with pytest.raises(DataError, match="flights: expected int64, found string"):
        write_interval(ref, DAY, [], schema=retyped)
    required = pa.schema([*wider, pa.field("origin", pa.string(), nullable=False)])
    with pytest.raises(DataError, match="origin: a new column must be nullable"):
        write_interval(ref, DAY, [], schema=required)
    assert ref.state().version == version


def test_interval_names_are_plain(ref: TableRef) -> None:
    for name in ("", "../x", "2013-01-01T00:00", "a/b"):
        with pytest.raises(DataError, match="must be a plain name"):
            write_interval(ref, name, [], schema=SCHEMA)


def test_a_landing_that_read_its_source_before_another_one_committed_stops(ref: TableRef) -> None:
    def slow_source() -> Iterator[pa.RecordBatch]:
        yield from batches_of(rows_of(DAY, 3))
        land(ref, count=7)  # somebody else, with what the source holds by now

    with pytest.raises(TransportError, match="another landing committed"):
        write_interval(ref, DAY, slow_source(), schema=SCHEMA)
    assert len(read(ref)) == 7


def test_the_same_rows_landed_meanwhile_are_enough(ref: TableRef) -> None:
    def slow_source() -> Iterator[pa.RecordBatch]:
        yield from batches_of(rows_of(DAY, 3))
        land(ref, count=3)

    assert not write_interval(ref, DAY, slow_source(), schema=SCHEMA).changed
    assert len(read(ref)) == 3


def test_landings_of_other_intervals_do_not_disturb(ref: TableRef) -> None:
    days = [f"2013-01-{day:02}" for day in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda day: land(ref, day, 4), days))
    assert all(one.changed for one in written)
    assert sorted(ref.live_builds()) == days
    assert len(read(ref)) == 32


def test_two_first_landings_in_two_processes_do_not_double(ref: TableRef) -> None:
    land(ref, NEXT)
    order = {"do": "land", "uri": ref.uri, "options": dict(ref.storage_options), "interval": DAY, "rows": 6}
    children = [start(order), start(order)]
    answers = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    assert sorted(json.loads(out)["changed"] for out, _ in answers) in ([False, True], [True, True])
    assert len(keys_of(ref, DAY)) == 6
    assert sum(1 for entry in ref.state().files.values() if entry.partition["interval_start"] == DAY) == 1


@pytest.mark.parametrize("step", STEPS["land"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_landing_killed_at_any_step_can_be_run_again(ref: TableRef, when: str, step: str) -> None:
    land(ref, DAY, 2)
    order = {"do": "land", "uri": ref.uri, "options": dict(ref.storage_options), "interval": DAY, "rows": 6}
    child = start({**order, "kill": [when, step]})
    child.communicate(timeout=300)
    assert child.returncode == -9
    committed = (when, step) == ("after", "replace_intervals")
    assert len(read(ref)) == (6 if committed else 2)
    assert land(ref, DAY, 6).changed is not committed
    assert len(read(ref)) == 6


MEMORY = """
import resource, sys
import pyarrow as pa
from feast_lakehouse.delta import TableRef
from feast_lakehouse.tables import write_interval
schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
def batches(count):
    for start in range(0, count, 20_000):
        numbers = range(start, start + 20_000)
        yield pa.record_batch([pa.array(numbers, pa.int64()), pa.array([f"{n:040}" for n in numbers])], schema=schema)
written = write_interval(TableRef(sys.argv[1]), "2013-01-01", batches(int(sys.argv[2])), schema=schema)
print(written.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for count in (100_000, 1_000_000):
        command = [sys.executable, "-c", MEMORY, str(tmp_path / str(count)), str(count)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=600)
        rows, peak = map(int, done.stdout.split())
        assert rows == count
        peaks.append(peak)
    # Ten times the rows (50 MB of text) may cost a few buffers more, not ten times the memory.
    assert peaks[1] - peaks[0] < 40, peaks
