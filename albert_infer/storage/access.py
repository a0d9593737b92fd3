"""The settings of S3 requests besides the URI: endpoint, encryption, payer, bucket owner. Holds no credentials."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from albert_infer.errors import SettingsError


@dataclass(frozen=True)
class S3Access:
    """The settings of all requests to one S3 folder; a local folder needs none of them.

    With `endpoint` None, the environment and AWS decide. With `kms_key`, the server encrypts new and copied objects
    with that key. `bucket_owner` is an account id: S3 refuses a bucket of another account.
    """

    endpoint: str | None = None
    kms_key: str | None = None
    request_payer: bool = False
    bucket_owner: str | None = None
    # Seconds without a byte; S3 answers in less than one second.
    read_timeout_seconds: float = 30

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters for every request that supports them."""
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
    """Raise `SettingsError` for an invalid URL, a URL with credentials, and http:// to another machine."""
    parts = urlsplit(endpoint)
    if "@" in parts.netloc:
        raise SettingsError(
            "the S3 endpoint", "it holds a user or password", "take it out; credentials come from the AWS environment"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"the S3 endpoint {endpoint!r}", "not a URL", "give https://host[:port]")
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        problem = "http:// would send texts and session tokens readable over the network"
        raise SettingsError(f"the S3 endpoint {endpoint!r}", problem, "give https://; http:// is for localhost only")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
