"""The connections to S3: s3fs with the timeouts and retries of ours, and what botocore is told of each request.

s3fs brings session, credentials and connections.
"""

from __future__ import annotations

from s3fs import S3FileSystem

from albert_infer.errors import SettingsError
from albert_infer.storage.access import S3Access, refuse_unsafe_endpoint
from albert_infer.storage.retries import RETRIES
from albert_infer.storage.s3_dialect import ATTEMPTS, add_md5, retry_conflict
from albert_infer.storage.s3_errors import translated


def connected(uri: str, access: S3Access) -> S3FileSystem:
    """A client for the objects at `uri`. Raises SettingsError for an endpoint that is none, or is not safe."""
    s3 = S3FileSystem(
        endpoint_url=access.endpoint,
        # s3fs gives each of them to the requests that know it.
        s3_additional_kwargs=access.parameters,
        config_kwargs={
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            "connect_timeout": 5,  # seconds; a host that is up answers at once
            "read_timeout": access.read_timeout_seconds,
            "max_pool_connections": 32,  # more than the threads of any stage
        },
        skip_instance_cache=True,  # one client a folder: what is registered below is registered once
    )
    s3.retries = 1  # botocore below it retries already
    with translated("connect", uri):
        try:
            client = s3.connect()
        except ValueError as error:
            found = "not a URL (from --s3-endpoint or AWS_ENDPOINT_URL)"
            raise SettingsError("the S3 endpoint", found, "give https://host[:port]") from error
    # As resolved: botocore also takes it from AWS_ENDPOINT_URL_S3 and from the profile.
    refuse_unsafe_endpoint(client.meta.endpoint_url)
    client.meta.events.register_first("needs-retry.s3.PutObject", retry_conflict)
    client.meta.events.register("request-created.s3", RETRIES.note)
    client.meta.events.register("before-call.s3.DeleteObjects", add_md5)
    return s3
