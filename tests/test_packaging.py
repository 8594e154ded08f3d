from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[1]
LOCK = (CHECKOUT / "requirements.lock").read_text()


def test_pyspark_and_pyspark_client_are_one_version() -> None:
    # both install the folder `pyspark`: of two versions, whichever is installed last half overwrites the other
    assert metadata.version("pyspark") == metadata.version("pyspark-client")


def test_every_requirement_is_locked_with_hashes() -> None:
    lines = [line.split("#")[0].strip() for line in (CHECKOUT / "requirements.txt").read_text().splitlines()]
    names = [Requirement(line).name for line in lines if line]
    assert names
    for name in names:
        pinned = re.search(rf"^{re.escape(name)}==\S+( ;[^\\]*)? \\\n    --hash=sha256:", LOCK, re.MULTILINE)
        assert pinned, f"{name} is not in requirements.lock: run `make lock`"


def test_the_lock_names_no_index() -> None:
    assert not re.search(r"https?://|--index-url|--find-links|--extra-index-url", LOCK)


def test_what_is_installed_is_what_the_lock_says() -> None:
    pinned = dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\", LOCK, re.MULTILINE))
    wrong = {
        name: (version, metadata.version(name))
        for name, version in pinned.items()
        if name in {"apache-airflow", "feast", "pyspark", "deltalake", "duckdb", "redis", "pyarrow"}
        and metadata.version(name) != version
    }
    assert not wrong
