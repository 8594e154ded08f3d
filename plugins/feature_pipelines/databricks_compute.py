"""How an environment computes on Databricks: what `compute.<lake>` of its file may say besides `kind: databricks`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from feature_pipelines.environment import EnvironmentBroken

CHOICES = ("job", "existing_cluster", "new_cluster", "serverless")


@dataclass(frozen=True)
class DatabricksCompute:
    """Exactly one of CHOICES says what an order's run is; the rest has defaults. Raises EnvironmentBroken otherwise."""

    job: str = ""
    """Name or number of a job to run now. It has its own wheel, from the bundle; its parameter `order` gets the URI."""
    existing_cluster: str = ""
    """Id of a cluster that is there already."""
    new_cluster: Mapping[str, Any] = field(default_factory=dict)
    """A job cluster of the run's own: `new_cluster` of the Jobs API."""
    serverless: Mapping[str, Any] = field(default_factory=dict)
    """Serverless compute: the environment `spec` of the Jobs API, such as `environment_version: "4"`."""
    wheels: str = ""
    """Under which folder Databricks sees `<lake>/_wheels`, such as `/Volumes/ops/my_feast/wheels`. Empty: that address."""
    submit: Mapping[str, Any] = field(default_factory=dict)
    """More top-level fields of runs/submit, such as `access_control_list` or `budget_policy_id`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """More tags of a job cluster, besides table, lake and order."""
    start_minutes: float = 30
    """How long a run may wait for its cluster before it is cancelled."""
    timeout_minutes: float = 100
    """How long a run may take before Databricks ends it."""
    poll_seconds: float = 15

    def __post_init__(self) -> None:
        chosen = [name for name in CHOICES if getattr(self, name)]
        if len(chosen) != 1:
            found = " and ".join(chosen) or "none"
            raise EnvironmentBroken(
                f"compute kind databricks: expected exactly one of {', '.join(CHOICES)}, found {found}"
            )
        if self.job and (self.wheels or self.submit or self.tags):
            raise EnvironmentBroken("compute kind databricks: wheels, submit and tags belong to the job, not beside it")
        for name in ("start_minutes", "timeout_minutes", "poll_seconds"):
            if not isinstance(getattr(self, name), int | float) or getattr(self, name) <= 0:
                raise EnvironmentBroken(f"compute kind databricks: {name} must be a number above 0")
        if self.wheels.startswith(("dbfs:", "/dbfs")):
            raise EnvironmentBroken(
                f"compute kind databricks: wheels: {self.wheels} is on DBFS; name a Unity Catalog volume or external location"
            )

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> DatabricksCompute:
        """From the environment's file, where an unknown setting is refused by name."""
        given = {name: value for name, value in settings.items() if name != "kind"}
        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise EnvironmentBroken(
                f"compute kind databricks: unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        for name in {"job", "existing_cluster", "wheels"} & set(given):
            given[name] = str(given[name])  # a job's number is one to YAML
        return cls(**given)
