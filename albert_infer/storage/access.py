"""How a place on S3 is reached, beyond its URI: endpoint, encryption, who pays, whose bucket. Holds no credentials."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from albert_infer.errors import SettingsError


@dataclass(frozen=True)
class S3Access:
    """What every request to one place carries or obeys; a local folder needs none of it.

    `endpoint` None leaves it to the environment and AWS. With `kms_key` the server encrypts what is put or copied
    with that key. `bucket_owner` is an account id: a bucket of anybody else is refused by S3.
    """

    endpoint: str | None = None
    kms_key: str | None = None
    request_payer: bool = False
    bucket_owner: str | None = None
    # Without a byte; S3 answers in less than one.
    read_timeout_seconds: float = 30

    @property
    def parameters(self) -> dict[str, str]:
        """What goes into every request that knows the parameter."""
        parameters: dict[str, str] = {}
        if self.kms_key is not None:
            parameters |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key}
        if self.request_payer:
            parameters |= {"RequestPayer": "requester"}
        if self.bucket_owner is not None:
            parameters |= {"ExpectedBucketOwner": self.bucket_owner, "ExpectedSourceBucketOwner": self.bucket_owner}
        return parameters


DEFAULT_ACCESS: Final = S3Access()


def refuse_unsafe_endpoint(endpoint: str) -> None:
    """Raise `SettingsError` for what is no URL, holds credentials, or sends data in the clear over a network."""
    parts = urlsplit(endpoint)
    if "@" in parts.netloc:
        raise SettingsError(
            "the S3 endpoint", "it holds a user or password", "take it out; credentials come from the AWS environment"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"the S3 endpoint {endpoint!r}", "not a URL", "give https://host[:port]")
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        found = "http:// would send texts and session tokens readable over the network"
        raise SettingsError(f"the S3 endpoint {endpoint!r}", found, "give https://; http:// is for localhost only")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
