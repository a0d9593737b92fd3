"""Connects to S3: s3fs with this package's timeouts and retries, and handlers for botocore's events.

s3fs manages sessions, credentials and connections.
"""

from __future__ import annotations

from s3fs import S3FileSystem

from albert_infer.errors import SettingsError
from albert_infer.storage.access import S3Access, refuse_unsafe_endpoint
from albert_infer.storage.retries import RETRIES
from albert_infer.storage.s3_dialect import ATTEMPTS, add_md5, retry_conflict
from albert_infer.storage.s3_errors import translated


def connected(uri: str, access: S3Access) -> S3FileSystem:
    """A client for the objects at `uri`. Raises SettingsError for an invalid or unsafe endpoint."""
    s3 = S3FileSystem(
        endpoint_url=access.endpoint,
        # s3fs gives each parameter to the requests that support it.
        s3_additional_kwargs=access.parameters,
        config_kwargs={
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            "connect_timeout": 5,  # seconds; a running host answers at once
            "read_timeout": access.read_timeout_seconds,
            "max_pool_connections": 32,  # more than the threads of any stage
        },
        skip_instance_cache=True,  # one client for each folder, so that the handlers below are registered once
    )
    s3.retries = 1  # botocore retries already
    with translated("connect", uri):
        try:
            client = s3.connect()
        except ValueError as error:
            problem = "not a URL (from --s3-endpoint or AWS_ENDPOINT_URL)"
            raise SettingsError("the S3 endpoint", problem, "give https://host[:port]") from error
    # The resolved endpoint, because botocore also reads AWS_ENDPOINT_URL_S3 and the profile.
    refuse_unsafe_endpoint(client.meta.endpoint_url)
    client.meta.events.register_first("needs-retry.s3.PutObject", retry_conflict)
    client.meta.events.register("request-created.s3", RETRIES.note)
    client.meta.events.register("before-call.s3.DeleteObjects", add_md5)
    return s3
