"""What `make run` prints at its end: tables, an online sample, the head of a training set."""

from __future__ import annotations

import logging
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
SAMPLES = 3
KEYS = ("tailnum", "carrier", "origin", "dest")


def report(console: Console, env: Environment, *, seconds: Mapping[str, float]) -> None:
    """Print it all; `seconds` is how long each table's run took."""
    logging.getLogger("feast").setLevel(logging.ERROR)  # it warns about settings that are as they should be
    store = env.feature_store()
    console.print(_raw_tables(env))
    console.print(_feature_tables(env, store, seconds))
    flights = departures(env)
    training = training_set(store, flights)
    asked = _choose(training)
    console.print(_online_sample(store, asked))
    console.print(_training_head(training, asked))


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
    names = [
        "table",
        "intervals",
        "rows",
        "keys",
        "bytes/key",
        "version",
        "in Redis",
        "freshness (UTC)",
        "seconds",
    ]
    table = _table("Feature tables", names)
    for row in status(env, store):
        numbers = (row.intervals, row.rows, row.online_keys, row.bytes_per_key, row.version, row.online_version)
        same = "" if row.version == row.online_version else " [red]differs[/]"
        table.add_row(
            row.name,
            *map(str, numbers[:-1]),
            f"{numbers[-1]}{same}",
            _text(row.freshness),
            f"{seconds.get(row.name, 0):.0f}",
        )
    return table


def training_set(store: FeatureStore, flights: pd.DataFrame) -> pd.DataFrame:
    """The flights with what was known of them, over both lakes, when they were scheduled; in the same order."""
    service = store.get_feature_service(SERVICE)
    # two tables have a mean_dep_delay: full names say whose
    job = store.get_historical_features(entity_df=flights, features=service, full_feature_names=True)
    training: pd.DataFrame = job.to_df()
    if len(training) != len(flights):
        raise AssertionError(f"training set: expected {len(flights)} rows, one per departure, found {len(training)}")
    return training


def _choose(training: pd.DataFrame) -> pd.DataFrame:
    """The last departures about which every table knew something; any, when there is none such."""
    complete = training.dropna()
    chosen = complete if len(complete) >= SAMPLES else training
    return chosen.drop_duplicates("tailnum").tail(SAMPLES)


def _online_sample(store: FeatureStore, asked: pd.DataFrame) -> Table:
    entities = [dict(zip(KEYS, values, strict=True)) for values in asked[list(KEYS)].itertuples(index=False)]
    service = store.get_feature_service(SERVICE)
    answer = store.get_online_features(features=service, entity_rows=entities, full_feature_names=True).to_dict()
    title = f"get_online_features of {SERVICE}, now"
    return _upright(title, asked, {name: answer[name] for name in asked.columns if name in answer and name not in KEYS})


def _training_head(training: pd.DataFrame, asked: pd.DataFrame) -> Table:
    columns = {name: asked[name].tolist() for name in asked.columns if name not in KEYS}
    title = (
        f"Training set: {len(training)} departures joined over both lakes as of their scheduled time; {SAMPLES} of them"
    )
    return _upright(title, asked, columns)


def _upright(title: str, entities: pd.DataFrame, rows: Mapping[str, Sequence[Any]]) -> Table:
    """One column per entity, one row per feature: fits a terminal however many features there are."""
    keys = entities[list(KEYS)].itertuples(index=False)
    table = _table(title, ["feature", *(" ".join(map(str, key)) for key in keys)])
    for name, values in rows.items():
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
    return f"{value:.2f}".removesuffix(".00") if isinstance(value, float) else str(value)
