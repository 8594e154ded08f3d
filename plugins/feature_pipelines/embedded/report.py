"""What `make run` prints at its end: tables, an online sample, the head of a training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from feature_pipelines.environment import Environment
from feature_pipelines.status import source_status, status

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

SERVICE = "departure_delay_v1"
SAMPLES = 4
KEYS = ("tailnum", "carrier", "origin", "dest")


def report(console: Console, env: Environment, *, seconds: Mapping[str, float]) -> None:
    """Print it all; `seconds` is how long each table's run took."""
    store = env.feature_store()
    console.print(_raw_tables(env))
    console.print(_feature_tables(env, store, seconds))
    flights = departures(env)
    console.print(_online_sample(store, flights))
    console.print(_training_set(store, flights))


def departures(env: Environment) -> pd.DataFrame:
    """The flights of the newest landed day that departed: keys, event_timestamp (when scheduled, UTC), dep_delay.

    These are the moments at which a model would have asked for features, and what it would have had to predict.
    """
    ref = env.raw("flights")
    state = ref.state()
    newest = max(state.live_builds())
    paths = [path for path, entry in state.files.items() if entry.partition["interval_start"] == newest]
    columns = [*KEYS, "scheduled_at", "dep_delay"]
    flights: pd.DataFrame = ref.dataset(paths, state.version).to_table(columns=columns).to_pandas()
    known = flights.dropna(subset=["tailnum", "dep_delay"]).rename(columns={"scheduled_at": "event_timestamp"})
    return known.sort_values(["event_timestamp", *KEYS], ignore_index=True)


def _raw_tables(env: Environment) -> Table:
    table = _table("Raw tables", ["table", "lake", "days", "rows", "rejected", "version"])
    for source in source_status(env):
        lake = env.raw(source.name).uri.rsplit("/", 3)[-3]
        table.add_row(source.name, lake, *map(str, (source.intervals, source.rows, source.rejected, source.version)))
    return table


def _feature_tables(env: Environment, store: FeatureStore, seconds: Mapping[str, float]) -> Table:
    names = ["table", "intervals", "rows", "keys online", "version", "in Redis", "freshness (UTC)", "seconds"]
    table = _table("Feature tables", names)
    for row in status(env, store):
        numbers = (row.intervals, row.rows, row.online_keys, row.version, row.online_version)
        same = "" if row.version == row.online_version else " [red]differs[/]"
        table.add_row(
            row.name,
            *map(str, numbers[:-1]),
            f"{numbers[-1]}{same}",
            _text(row.freshness),
            f"{seconds.get(row.name, 0):.0f}",
        )
    return table


def _online_sample(store: FeatureStore, flights: pd.DataFrame) -> Table:
    newest = flights.drop_duplicates("tailnum").tail(SAMPLES)
    asked = [dict(zip(KEYS, values, strict=True)) for values in newest[list(KEYS)].itertuples(index=False)]
    answer = store.get_online_features(features=store.get_feature_service(SERVICE), entity_rows=asked).to_dict()
    features = [name for name in answer if name not in KEYS]
    title = f"get_online_features of {SERVICE}"
    return _upright(title, asked, [(name, answer[name]) for name in features])


def _training_set(store: FeatureStore, flights: pd.DataFrame) -> Table:
    training: pd.DataFrame = store.get_historical_features(
        entity_df=flights, features=store.get_feature_service(SERVICE)
    ).to_df()
    if len(training) != len(flights):
        raise AssertionError(f"training set: expected {len(flights)} rows, one per departure, found {len(training)}")
    head = training.tail(SAMPLES)
    columns = [name for name in training.columns if name not in KEYS]
    title = f"Training set: {len(training)} departures joined over both lakes as of their scheduled time, the last {SAMPLES}"
    return _upright(title, head[list(KEYS)].to_dict("records"), [(name, head[name].tolist()) for name in columns])


def _upright(title: str, keys: Sequence[Mapping[Any, Any]], rows: Sequence[tuple[str, Sequence[Any]]]) -> Table:
    """One column per entity, one row per feature: fits a terminal however many features there are."""
    table = _table(title, ["feature", *(" ".join(str(key[name]) for name in KEYS) for key in keys)])
    for name, values in rows:
        table.add_row(name, *map(_text, values))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 else "right")
    return table


def _text(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN is what does not equal itself
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
