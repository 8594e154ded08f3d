"""What the documents promise is there: make targets, files, folders, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/cluster.md",
    "docs/azure.md",
    "docs/spark_jobs.md",
]
TARGETS = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_exists(document: str) -> None:
    named = set(re.findall(r"`make ([a-z-]+)", (CHECKOUT / document).read_text()))
    named |= set(re.findall(r"^make ([a-z-]+)", (CHECKOUT / document).read_text(), re.MULTILINE))
    assert named <= TARGETS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_linked_file_exists(document: str) -> None:
    file = CHECKOUT / document
    links = re.findall(r"\]\(([^)#]+)\)", file.read_text())
    assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == []


def test_every_folder_of_the_table_exists() -> None:
    folders = re.findall(r"^\| `([a-z_/]+/)` \|", (CHECKOUT / "README.md").read_text(), re.MULTILINE)
    assert "dags/" in folders
    assert [folder for folder in folders if not (CHECKOUT / folder).is_dir()] == []


def test_every_make_target_is_described() -> None:
    assert set(re.findall(r"^([a-z-]+):.*## ", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)) == TARGETS


def test_the_licence_is_apache_2() -> None:
    text = (CHECKOUT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
