"""Storage that refuses an application, told apart from storage that does not answer: trying again cannot help."""

from __future__ import annotations

import re

EXIT_REFUSED = 4
"""The application may not read or write somewhere, or has no credential it could show."""

_REFUSED = re.compile(
    # HDFS permissions; ADLS permissions, a wrong key or SAS; a client secret that is wrong or over
    r".*(?:AccessControlException|AccessDeniedException|AADToken: HTTP connection (?:to .* )?failed.*40[0-3]).*"
    # a setting that names a variable that this driver's or an executor's process does not have
    r"|.*(?:Failure to initialize configuration|ConfigurationPropertyNotFoundException).*"
)
_ADVICE = (
    "Is the credential right and not over, may it read and write there, and were the Spark workers started with it?"
)


def refusal(error: Exception) -> str | None:
    """What a person reads when storage refused the application; None when something else went wrong."""
    found = _REFUSED.search(str(error))
    return f"Storage refuses: {found[0].strip()}\n{_ADVICE}" if found else None
