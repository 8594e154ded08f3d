"""What storage says when it cannot be used, as an error of ours: where, what is wrong, who acts, what to check, no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus, urlsplit

from feast_lakehouse.errors import LakehouseError, TransportError
from feast_lakehouse.storage_answers import known

MASK: Final = "***"
SHOWN: Final = 400
SHORTEST_SECRET: Final = 4
_SECRET_NAME = re.compile(r"key|token|secret|password|sas|signature|credential|connection_string", re.IGNORECASE)
_SECRETS_IN_TEXT: Final = (
    re.compile(r"(?<=[?&;]sig=)[^&;\s\"']+|(?<=\bsig=)[^&;\s\"']+", re.IGNORECASE),
    re.compile(r"(?<=AccountKey=)[^;\s\"']+|(?<=SharedAccessSignature=)[^;\s\"']+", re.IGNORECASE),
    re.compile(r"(?<=Bearer )[\w.~+/=-]+|(?<=SharedKey )\S+", re.IGNORECASE),
    re.compile(r"(?<=client_secret=)[^&\s\"']+|(?<=password=)[^&,;\s\"']+", re.IGNORECASE),
    re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"),
)
_COLOUR, _STEP = re.compile(r"\x1b\[[0-9;]*m"), re.compile(r"\s*\n\s*↳\s*")
_STACK = re.compile(r"\n\s+at [\w.$]+\(.*", re.DOTALL)
_XML = re.compile(r"<\?xml.*", re.DOTALL)
_SUPPORT = re.compile(r"\s*RequestId:\S+\s+Time:\S+|\s*Content: .*", re.DOTALL)
_QUERY = re.compile(r"(https?://[^\s?]+)\?\S+")
_INODE, _USER = re.compile(r'inode="([^"]+)"'), re.compile(r"user=(\w+)")


def storage_error(
    uri: str,
    doing: str,
    error: BaseException,
    *,
    place: str = "",
    options: Mapping[str, str] | None = None,
    otherwise: type[LakehouseError] = TransportError,
) -> LakehouseError:
    """The error to raise `from None`: its class says who acts, its text is whole and holds no secret.

    `doing` says what could not be done, `place` names the lake and the connection its credentials come from.
    A text that no rule knows becomes `otherwise`.
    """
    text = readable(str(error), _secrets(options or {}))
    found = known(text)
    kind, advice = (found.kind, found.advice) if found else (otherwise, "")
    advice = _missing_folder(uri, text) or advice
    check = f"Check {place}." if place else ""
    return kind(" ".join(part for part in (f"{uri}: {doing}: {text.rstrip('.')}.", advice, check) if part))


def is_outage(error: BaseException) -> bool:
    """Whether the error is of storage that could not be reached, and not of what is stored there."""
    found = known(readable(str(error)))
    return found is not None and found.kind is TransportError


def readable(text: str, secrets: Iterable[str] = ()) -> str:
    """An error's text as one short line: without colours, stack traces, XML, queries of URLs, and without secrets."""
    text = _STACK.sub("", _STEP.sub(": ", _COLOUR.sub("", text)))
    text = _XML.sub(lambda found: _answer(found[0]), text)
    text = _SUPPORT.sub("", text)
    text = _QUERY.sub(r"\1", text)
    text = redacted(" ".join(text.split()), secrets)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with everything masked that is, or looks like, a credential."""
    for secret in sorted({s for s in secrets if len(s) >= SHORTEST_SECRET}, key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(form, MASK)
    for pattern in _SECRETS_IN_TEXT:
        text = pattern.sub(MASK, text)
    return text


def _secrets(options: Mapping[str, str]) -> list[str]:
    return [str(value) for name, value in options.items() if _SECRET_NAME.search(name)]


def _answer(xml: str) -> str:
    """Code and first line of the message in an answer of Azure Storage."""
    code, message = (re.search(rf"<{name}>(.*?)(\n|</{name}>)", xml, re.DOTALL) for name in ("Code", "Message"))
    return ": ".join(found[1] for found in (code, message) if found) or "an answer in XML"


def _missing_folder(uri: str, text: str) -> str:
    """HDFS names the deepest folder that exists: above the table's own, what is missing is the one below it."""
    inode, user = _INODE.search(text), _USER.search(text)
    folder = urlsplit(uri).path.rstrip("/")
    above = inode[1].rstrip("/") if inode and "access=WRITE" in text else None
    if above is None or not folder.startswith(f"{above}/"):
        return ""
    missing = f"{above}/{folder.removeprefix(f'{above}/').split('/')[0]}"
    owner = user[1] if user else "<user>"
    return (
        f"{missing} does not exist and {owner} may not make it: as one who may, `hdfs dfs -mkdir {missing}` and "
        f"`hdfs dfs -chown {owner} {missing}`."
    )
