# Databricks notebook source
"""One training set over both lakes: the departures of the first days with what was known at their scheduled time.

Runs as it is on a laptop (`.venv/bin/python docs/examples/training_set.py`, after `make run`) and as a notebook on
Databricks. There, clone the checkout as a Git folder and set in the cluster's environment: MY_FEAST_ENVIRONMENT=azure,
the addresses MY_FEAST_… and the connections AIRFLOW_CONN_… as `{{secrets/<scope>/<key>}}`. On-prem tables are read from
HDFS, so the workspace's network needs a route to the data centre; Spark is not used, any cluster will do.
"""

# COMMAND ----------

# MAGIC %pip install --quiet -r ../../requirements.txt
# MAGIC %restart_python

# COMMAND ----------

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(globals().get("__file__", Path.cwd() / "training_set.py")).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "plugins")]

from feature_pipelines import environment  # noqa: E402 - a notebook has no package to be in

env = environment.load()
store = env.feature_store()

# COMMAND ----------

# The label is the delay, the entities are what is known of a flight before it leaves.
columns = ["tailnum", "carrier", "origin", "dest", "scheduled_at", "dep_delay"]
table = env.raw("flights")
state = table.state()
flights = table.dataset(list(state.files), state.version).to_table(columns=columns).to_pandas()
departures = flights.dropna(subset=["tailnum", "dep_delay"]).rename(columns={"scheduled_at": "event_timestamp"})

# COMMAND ----------

# Two tables of the on-prem lake, a third, and one of the cloud: one join, and every row keeps its place.
service = store.get_feature_service("departure_delay_v1")
training = store.get_historical_features(entity_df=departures, features=service, full_feature_names=True).to_df()
if len(training) != len(departures):
    raise AssertionError(f"expected one row per departure, {len(departures)}; found {len(training)}")

# COMMAND ----------

known = training.notna().mean().mul(100).round(1)
sys.stdout.write(f"{len(training)} departures; of each column so much is known, in percent:\n{known.to_string()}\n")
