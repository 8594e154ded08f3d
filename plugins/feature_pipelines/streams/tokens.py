"""Tokens of Microsoft Entra for Event Hubs, in the form in which librdkafka asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from azure.core.exceptions import ClientAuthenticationError

from feast_lakehouse.errors import DataError, TransportError
from feast_lakehouse.storage_errors import readable
from feature_pipelines.azure_identity import token_credential

if TYPE_CHECKING:
    from feature_pipelines.connection_text import Connection

SCOPE: Final = "https://{}/.default"
SILENCE: Final = ("did not respond", "timed out")
Token = tuple[str, float]
"""The token and until when it is good, seconds since 1970."""


def tokens(connection: Connection, address: str) -> Callable[[str], Token]:
    """A function that gives the token of the moment for the namespace at `address` (host:port,…).

    The first token is asked for here, so that a refusal is an error of ours: librdkafka cannot be told one. Raises
    DataError when Entra refuses the identity, TransportError when it does not answer.
    """
    credential, scope = token_credential(connection), SCOPE.format(address.partition(",")[0].rpartition(":")[0])

    def ask() -> Token:
        found = credential.get_token(scope)
        return found.token, float(found.expires_on)

    try:
        newest = ask()
    except Exception as error:  # noqa: BLE001 - the identity's client documents only some of its errors
        text = readable(str(error)).rstrip(".")
        is_refusal = isinstance(error, ClientAuthenticationError) and not any(words in text for words in SILENCE)
        kind = DataError if is_refusal else TransportError
        raise kind(f"{connection}: Microsoft Entra gave no token for {scope}: {text}. Check its identity.") from None

    def token(_: str) -> Token:
        nonlocal newest
        try:
            newest = ask()
        except Exception:  # noqa: BLE001 - whatever it is, librdkafka asks again, and the old token may still be good
            return newest
        return newest

    return token
