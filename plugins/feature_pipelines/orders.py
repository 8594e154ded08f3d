"""Orders: what a Spark application shall compute, written once beside the table and never changed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from feast_lakehouse.errors import DataError
from feature_pipelines.builds import Missing, RawInputs, read_inputs
from spark_jobs.order import Order, OrderedInterval, OrderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow.fs as pafs

    from feast_lakehouse.delta import TableRef
    from feature_pipelines.environment import Environment
    from spark_jobs.interval import Interval

ORDERS, STAGING = "_orders", "staging"


def write_order(env: Environment, table: str, window: Interval, *, attempt: str, force: bool = False) -> str | None:
    """Writes the order for the window's stale days (all of them with `force`); its URI, or None when all are current.

    The same attempt over the same inputs is the same order: asked again, nothing is written anew. Another `attempt`
    gets another order with its own staging folder. Raises DataError when a day's sources have not landed.
    """
    inputs = read_inputs(env, table)
    ref = env.features(table)
    live = ref.live_builds()
    expected = {day: inputs.build(day) for day in window.days()}
    _require_landed(table, expected)
    wanted = [
        OrderedInterval(day, str(build)) for day, build in expected.items() if force or live.get(day.partition) != build
    ]
    if not wanted:
        return None
    order = _order(env, inputs, wanted, attempt)
    path = f"{ORDERS}/{order.order_id}.json"
    _write_once(ref, path, order.to_json())
    return f"{ref.uri}/{path}"


def read_order(env: Environment, order_uri: str) -> Order:
    """The order at its URI. Raises DataError when there is none, it is broken, or it belongs to another environment."""
    from feast_lakehouse import writing

    table, _, name = order_uri.rsplit("/", 3)[-3:]
    try:
        ref = env.features(table)
    except KeyError:
        raise DataError(f"{order_uri}: there is no feature table {table!r}") from None
    if order_uri != f"{ref.uri}/{ORDERS}/{name}":
        raise DataError(f"{order_uri}: expected an order under {ref.uri}/{ORDERS}; is it another environment's?")
    text = writing.read_text(ref, f"{ORDERS}/{name}")
    if text is None:
        raise DataError(f"{order_uri}: expected an order, found none")
    try:
        return Order.from_json(text)
    except OrderError as error:
        raise DataError(f"{order_uri}: {error}") from error


def read_text(filesystem: pafs.FileSystem, path: str) -> str | None:
    """A small file's text; None when it is not there. Raises DataError when it is refused, else TransportError."""
    from feast_lakehouse.storage_errors import storage_error

    try:
        with filesystem.open_input_file(path) as stream:
            return bytes(stream.read()).decode("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(path, "storage cannot be used", error) from None


def _require_landed(table: str, expected: dict[Interval, str | Missing]) -> None:
    missing = [(day.partition, build.sources) for day, build in expected.items() if isinstance(build, Missing)]
    if missing:
        told = "\n".join(f"  {partition}: {', '.join(sources)}" for partition, sources in missing)
        raise DataError(
            f"{table}: {len(missing)} of {len(expected)} days cannot be computed, their sources have not landed:\n{told}\nLand them first."
        )


def _order(env: Environment, inputs: RawInputs, wanted: list[OrderedInterval], attempt: str) -> Order:
    days = [each.interval for each in wanted]
    files = {
        source: tuple(f"{env.raw(source).uri}/{entry.path}" for entry in sorted(entries, key=lambda entry: entry.path))
        for source, entries in inputs.entries(days).items()
    }
    order_id = _order_id(inputs, wanted, files, attempt)
    output = f"{env.features(inputs.table.name).uri}/{STAGING}/{order_id}"
    return Order(order_id, inputs.table.name, inputs.definition, tuple(wanted), files, output)


def _order_id(
    inputs: RawInputs, wanted: Iterable[OrderedInterval], files: dict[str, tuple[str, ...]], attempt: str
) -> str:
    builds = {each.interval.partition: each.build for each in wanted}
    text = json.dumps([inputs.table.name, inputs.definition, builds, files, attempt], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _write_once(ref: TableRef, path: str, text: str) -> None:
    from feast_lakehouse import writing

    if writing.read_text(ref, path) != text:
        writing.write_text(ref, path, text)
