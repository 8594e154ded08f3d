"""Capture's files on ADLS (Azurite) and HDFS: folders are listed and files read there as on a disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import fastavro
import pytest

from feast_lakehouse.delta import TableRef
from feast_lakehouse.errors import DataError
from feast_lakehouse.writing import writable_filesystem
from feature_pipelines.streams.capture_log import CaptureLog
from feature_pipelines.streams.log import Bounds, Span
from spark_jobs.interval import Interval
from tests.feature_pipelines.streams.captured import CAPTURE_SCHEMA, reading, record
from tests.services.azurite import azurite
from tests.services.hdfs import hdfs
from tests.services.stack import or_skip

pytestmark = pytest.mark.cluster

START = Interval.day("2013-01-02").start
Lake = Callable[[str], TableRef]


@pytest.fixture(scope="module", params=["azurite", "hdfs"])
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "hdfs":
        with or_skip(hdfs(folder)) as nodes:
            yield lambda path: TableRef(f"{nodes.uri}/{path}")
    else:
        with or_skip(azurite(folder)) as account:
            root = account.container("lake")
            yield lambda path: TableRef(f"{root}/{path}", account.storage_options)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def test_the_log_of_a_lake_is_that_of_a_disk(lake: Lake) -> None:
    ref = lake("capture/ns/weather")
    filesystem = writable_filesystem(ref)
    for partition in (0, 1):
        for n, hours in enumerate((1, 5, 23, 25, 60)):
            content = io.BytesIO()
            fastavro.writer(content, CAPTURE_SCHEMA, [record(n, at(hours), reading(at(hours - 1).isoformat()))])
            with filesystem.open_output_stream(f"{partition}/{at(hours):%Y/%m/%d/%H/%M/%S}.avro") as stream:
                stream.write(content.getvalue())
    log = CaptureLog(ref)
    assert log.bounds() == {partition: Bounds(0, 5) for partition in (0, 1)}
    assert log.offsets_at(at(24)) == {0: 3, 1: 3}
    assert log.offsets_at(at(100)) == {0: None, 1: None}
    assert [(found.offset, found.enqueued) for found in log.read(Span(1, 2, 5))] == [
        (2, at(23)),
        (3, at(25)),
        (4, at(60)),
    ]


def test_a_folder_that_is_not_there_is_told(lake: Lake) -> None:
    with pytest.raises(DataError, match="expected files such as"):
        CaptureLog(lake("capture/ns/nothing")).bounds()
