"""spark-submit for one order: credentials in its variables alone, and the application's id as soon as it is printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from typing_extensions import override

_APPLICATION_ID = re.compile(r"Spark application ([\w.-]+)$")


class OrderSubmitHook(SparkSubmitHook):
    """The provider's hook, with public names for what it knows, and `on_application` called with the id.

    `variables` may hold secrets: the provider gives them to the process and shows them nowhere.
    """

    def __init__(self, *, variables: Mapping[str, str], on_application: Callable[[str], None], **kwargs: Any) -> None:
        super().__init__(env_vars=dict(variables), **kwargs)
        self._on_application = on_application

    @property
    def exit_code(self) -> int | None:
        """Of spark-submit, None while there is none; the provider tells it only inside its error's text."""
        process = self._submit_sp
        return None if process is None or process.returncode is None else int(process.returncode)

    @override
    def submit(self, application: str = "", **kwargs: Any) -> str | None:
        """As the provider's, and spark-submit's output is closed at the end instead of whenever memory is tidied up."""
        try:
            return super().submit(application, **kwargs)
        finally:
            if self._submit_sp is not None and self._submit_sp.stdout is not None:
                self._submit_sp.stdout.close()

    def _process_spark_submit_log(self, itr: Iterator[Any]) -> None:
        super()._process_spark_submit_log(self._watched(itr))

    def _watched(self, lines: Iterator[Any]) -> Iterator[Any]:
        for line in lines:
            found = _APPLICATION_ID.match(str(line).strip())
            if found:
                self._on_application(found[1])
            yield line
