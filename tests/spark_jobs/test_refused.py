"""Storage that refuses is told apart from everything else that may go wrong."""

from __future__ import annotations

import pytest

from spark_jobs.refused import refusal

WRONG_KEY = (
    "An error occurred while calling o40.text.\n: java.nio.file.AccessDeniedException: Operation failed: "
    '"Server failed to authenticate the request.", 403, HEAD, https://account/lake/x?timeout=90s, rId: 7\n\tat org.apache'
)
NO_VARIABLE = (
    "Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most recent failure: Lost task 0.3 in stage 1.0 "
    '(TID 7) (10.0.0.2 executor 1): Failure to initialize configuration for account.dfs.core.windows.net key ="${env.X}": '
    "Invalid configuration value detected for fs.azure.account.key"
)
HDFS = "org.apache.hadoop.security.AccessControlException: Permission denied: user=a, access=WRITE, inode=/x"


@pytest.mark.parametrize(
    ("text", "said"), [(WRONG_KEY, "403, HEAD"), (NO_VARIABLE, "${env.X}"), (HDFS, "Permission denied: user=a")]
)
def test_a_refusal_says_what_was_refused_in_one_line_and_what_to_check(text: str, said: str) -> None:
    told = refusal(RuntimeError(text))
    assert told is not None
    first, second = told.splitlines()
    assert first.startswith("Storage refuses: ")
    assert said in first
    assert "were the Spark workers started with it?" in second


@pytest.mark.parametrize(
    "text", ["java.net.ConnectException: Connection refused", "[PATH_NOT_FOUND] x", "", "Status 500"]
)
def test_everything_else_may_be_tried_again(text: str) -> None:
    assert refusal(RuntimeError(text)) is None
