"""A connection that only Airflow's database holds, asked for inside a real task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_pipelines.environment import CHECKOUT

DAG = """
from airflow.sdk import DAG, task

with DAG("asks_for_connections", schedule=None) as dag:

    @task
    def ask():
        from feature_pipelines.connections import ConnectionMissing, connection

        found = connection("my_feast_cloud")
        assert (found.login, found.password, found.extra) == ("account", "canary", {"a": {"b": 1}}), found
        assert "canary" not in repr(found)
        try:
            connection("my_feast_nothing")
        except ConnectionMissing as missing:
            return str(missing)

    ask()

if __name__ == "__main__":
    from airflow.models import Connection
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    with create_session() as session:
        made = Connection(conn_id="my_feast_cloud", conn_type="adls", login="account", password="canary", extra=EXTRA)
        session.add(made)
    run = dag.test()
    told = run.get_task_instances()[0].xcom_pull(task_ids="ask")
    print("STATE", run.state, told)
"""


@pytest.mark.cluster
def test_a_task_asks_airflow(tmp_path: Path) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "asks.py").write_text(DAG.replace("EXTRA", repr(json.dumps({"a": {"b": 1}}))))
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'plugins'}",
    }
    done = subprocess.run(
        [sys.executable, str(folder / "asks.py")],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    last = done.stdout.splitlines()[-1] if done.stdout else done.stderr
    assert last.startswith("STATE success connection my_feast_nothing: not found"), done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr
