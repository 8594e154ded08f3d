"""What stand-ins must be; nothing here needs a Docker engine."""

from __future__ import annotations

import re
from pathlib import Path

from tests.containers import standins
from tests.containers.engine import needed_images

HERE = Path(__file__).parent


def test_every_image_from_elsewhere_has_a_stand_in() -> None:
    names = {image.rpartition("/")[2].partition(":")[0] for image in needed_images()}
    assert names == {"azurite", "hadoop", "kafka", "postgres", "python", "redis"}
    assert {folder.name for folder in standins.FOLDER.iterdir()} == names
    assert standins.FILES.keys() <= names


def test_stand_ins_start_from_nothing_that_is_fetched() -> None:
    for file in standins.FOLDER.glob("*/Dockerfile"):
        assert re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE) == [standins.BASE]


def test_no_address_of_a_registry_is_written_down() -> None:
    for file in HERE.rglob("*"):
        assert file.is_dir() or file.suffix == ".pyc" or file == Path(__file__) or "://" not in _without_own(file), file


def _without_own(file: Path) -> str:
    return file.read_text().replace("http://{LOOPBACK}", "")
