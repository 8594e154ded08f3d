"""Makes the containers of the storage account that the cloud lake and the registry are in; those there already stay."""

from __future__ import annotations

import sys

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient

from feature_pipelines.azure_identity import sdk_credential
from feature_pipelines.connections import LAKE, connection

CONNECTION = LAKE.format("cloud")


def main() -> None:
    """One container per argument, in the account of the connection `my_feast_cloud`."""
    account = connection(CONNECTION)
    with BlobServiceClient(str(account.host), credential=sdk_credential(account)) as client:
        for name in sys.argv[1:]:
            try:
                client.create_container(name)
            except ResourceExistsError:
                sys.stdout.write(f"{name}: is there\n")
            else:
                sys.stdout.write(f"{name}: made\n")


if __name__ == "__main__":
    main()
