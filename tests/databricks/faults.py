"""What can go wrong: answers of the API that are not the answer, and runs that end otherwise than well."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """The next `times` calls of one kind, after `skip` sound ones, are answered like this.

    `drop`: the connection breaks after the call was carried out. `revoke`: every token given so far is worthless, and
    this call gets `status` for it. Otherwise the call is not carried out and gets `status`.
    """

    call: str
    status: int = 500
    message: str = "Something went wrong on our end"
    code: str = "INTERNAL_ERROR"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    skip: int = 0
    drop: bool = False
    revoke: bool = False

    def strikes(self, call: str) -> bool:
        """Whether it is this call's turn; counts it."""
        if call != self.call or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(frozen=True)
class Ending:
    """How one attempt of a run goes: so many looks at it waiting for a cluster, running, being ended, and then its end."""

    life: str = "TERMINATED"
    result: str = "SUCCESS"
    code: str = "SUCCESS"
    kind: str = "SUCCESS"
    message: str = ""
    error: str = ""
    works: str = "stages"
    """"stages" rows as the application would, "breaks" a promise, "nothing", or "really" runs the wheel."""
    waiting: int = 1
    running: int = 1
    terminating: int = 1
    lag: int = 0
    """So many looks at it show nothing of a cancel yet."""

    @property
    def state(self) -> dict[str, Any]:
        """As `state` of a run."""
        result = {"result_state": self.result} if self.result else {}
        return {"life_cycle_state": self.life, **result, "state_message": self.message}

    @property
    def termination(self) -> dict[str, Any]:
        """As `status` of a run."""
        details = {"code": self.code, "type": self.kind, "message": self.message}
        return {"state": "TERMINATED", "termination_details": details}


FOR_EVER = 10_000

WELL = Ending()
REALLY = Ending(works="really")
ENDED_BY_CANCEL = Ending(result="CANCELED", code="USER_CANCELED", kind="CLIENT_ERROR", message="Run cancelled.")


def failed(error: str, *, works: str = "nothing") -> Ending:
    """A run whose task raised this error."""
    message = "Task compute failed with message: Workload failed, see run output for details."
    return Ending(
        result="FAILED", code="RUN_EXECUTION_ERROR", kind="CLIENT_ERROR", message=message, error=error, works=works
    )


def ended(life: str, result: str, code: str, message: str, *, kind: str = "CLIENT_ERROR") -> Ending:
    """A run that Databricks or somebody ended before its task could do its work."""
    return Ending(life=life, result=result, code=code, kind=kind, message=message, works="nothing")
