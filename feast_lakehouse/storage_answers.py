"""What the storages' own words mean: an ordered table of patterns, of who has to act, and of what to look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from feast_lakehouse.errors import DataError, LakehouseError, TransportError


@dataclass(frozen=True)
class Known:
    """What a text of some storage means: who has to act, and what to look at. The first that fits counts."""

    pattern: re.Pattern[str]
    kind: type[LakehouseError]
    advice: str


def _known(pattern: str, kind: type[LakehouseError], advice: str) -> Known:
    return Known(re.compile(pattern, re.IGNORECASE), kind, advice)


KNOWN: Final = (
    _known(
        r"SIMPLE authentication is not enabled|SASL|GSSAPI|libgssapi",
        DataError,
        "This HDFS wants Kerberos: is there a ticket (klist), does HADOOP_CONF_DIR name core-site.xml with "
        "hadoop.security.authentication = kerberos, is libgssapi_krb5 installed?",
    ),
    _known(
        r"SafeModeException|in safe mode",
        TransportError,
        "The NameNode only reads: it leaves safe mode by itself once enough DataNodes have reported; one that was "
        "switched on by hand ends with `hdfs dfsadmin -safemode leave`.",
    ),
    _known(
        r"QuotaExceeded",
        DataError,
        "Free space or names below that folder, or raise its quota (hdfs dfsadmin -setSpaceQuota, -setQuota).",
    ),
    _known(
        r"could only be written to \d+ of the|datanode\(s\) running|All DataNodes failed|All nodes failed for write"
        r"|blocks not found for|Failed to connect to DataNode",
        TransportError,
        "No live DataNode took or gave the block: see `hdfs dfsadmin -report`; this machine must reach the DataNodes "
        "too, not only the NameNode.",
    ),
    _known(r"StandbyException", TransportError, "This NameNode is the standby: use the name service, or the active."),
    _known(
        r"No NameNode hosts found",
        DataError,
        "Without a port the host is a name service: give hdfs://host:8020, or HADOOP_CONF_DIR with its hdfs-site.xml.",
    ),
    _known(
        r"HdfsObjectStore.*(RPC listener disconnected|Broken pipe|Connection reset)",
        TransportError,
        "Whatever answered there hung up: is it the NameNode's RPC port (usually 8020), not its web port (9870)?",
    ),
    _known(
        r"certificate|UnknownIssuer|NotValidYet",
        DataError,
        "The server's certificate is not valid: renew it, or trust its authority on this machine.",
    ),
    _known(
        r"ContainerNotFound|FilesystemNotFound|ContainerBeingDeleted",
        DataError,
        "The container does not exist: make it, or correct the lake's address.",
    ),
    _known(
        r"AuthorizationPermissionMismatch|AuthorizationResourceTypeMismatch|InsufficientAccountPermissions",
        DataError,
        "The credential is good but may not do this: the identity needs the role Storage Blob Data Contributor on the "
        "container, a SAS needs the permissions racwdl.",
    ),
    _known(
        r"AuthenticationFailed|AuthorizationFailure|InvalidAuthenticationInfo|KeyBasedAuthenticationNotPermitted"
        r"|PublicAccessNotPermitted|NoAuthenticationInformation",
        DataError,
        "The account refused the credential: is the key, SAS or secret right and not expired, is this machine's clock "
        "right, does the account's firewall let it in?",
    ),
    _known(r"Invalid Access Key", DataError, "The account key is not base64: copy it again."),
    _known(
        r"did not match any known pattern|InvalidUri|InvalidResourceName|AccountIsDisabled",
        DataError,
        "Expected abfss://<container>@<account>.dfs.core.windows.net/<folder>.",
    ),
    _known(
        r"performing token request.*status code: 40[0-4]",
        DataError,
        "No token was given: is this machine's managed identity assigned, or the service principal's tenant, client id "
        "and secret right and not expired?",
    ),
    _known(
        r"performing token request",
        TransportError,
        "No token was given: Microsoft Entra or the machine's identity endpoint did not answer.",
    ),
    _known(
        r"\b429\b|\b503\b|ServerBusy|OperationTimedOut",
        TransportError,
        "The account is throttled or busy: try again, and look at its limits when it lasts.",
    ),
    _known(
        r"AccessControlException|necessary privileges|Permission denied|\b403\b|\b401\b",
        DataError,
        "Give this user or identity the right, or use another one.",
    ),
    _known(
        r"dns error|lookup address|Connection refused|timed out|tcp connect error|error sending request|unreachable",
        TransportError,
        "Is the address right, is the service up, may this machine reach it?",
    ),
    _known(r"No space left on device", TransportError, "Make room on that disk."),
)


def known(text: str) -> Known | None:
    """What a text means; None when nothing here knows."""
    return next((each for each in KNOWN if each.pattern.search(text)), None)
