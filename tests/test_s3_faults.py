"""The fault proxy itself: what it forwards is what came, and each action does what it says."""

from __future__ import annotations

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError
from s3_faults import FaultProxy, Rule
from s3_server import S3Location

pytestmark = pytest.mark.s3
BODY = bytes(range(256)) * 40


def put(client: BaseClient, place: S3Location, name: str) -> None:
    client.put_object(Bucket=place.bucket, Key=f"{place.prefix}/{name}", Body=BODY)


def got(client: BaseClient, place: S3Location, name: str) -> bytes:
    return bytes(client.get_object(Bucket=place.bucket, Key=f"{place.prefix}/{name}")["Body"].read())


def test_the_proxy_forwards_signed_requests_unchanged_and_notes_them(s3_bucket: S3Location) -> None:
    with FaultProxy(s3_bucket.endpoint) as proxy:
        client = s3_bucket.client(proxy.endpoint)
        put(client, s3_bucket, "a b+ü")
        assert got(client, s3_bucket, "a b+ü") == BODY
        assert [(one.method, "a%20b%2B" in one.path) for one in proxy.requests] == [("PUT", True), ("GET", True)]
        assert proxy.requests[0].headers["host"] == proxy.endpoint.removeprefix("http://")
        with pytest.raises(ClientError, match="404"):
            client.head_object(Bucket=s3_bucket.bucket, Key=f"{s3_bucket.prefix}/none")
    assert not proxy.faults


def test_each_action_spoils_one_request_and_the_next_goes_through(s3_bucket: S3Location) -> None:
    with FaultProxy(s3_bucket.endpoint) as proxy:
        client, direct = s3_bucket.client(proxy.endpoint), s3_bucket.client()
        for rule, error in (
            (Rule("rst_before", "PUT", "/x"), ConnectionClosedError),
            (Rule("status", "PUT", status=503, code="SlowDown"), ClientError),
            (Rule("hang", "PUT", seconds=0.2), ConnectionClosedError),
        ):
            proxy.set_rules([rule])
            with pytest.raises(error):
                put(client, s3_bucket, "x")
            with pytest.raises(ClientError, match="NoSuchKey"):
                got(direct, s3_bucket, "x")
        proxy.set_rules([Rule("rst_after", "PUT")])
        with pytest.raises(ConnectionClosedError):
            put(client, s3_bucket, "x")
        assert got(direct, s3_bucket, "x") == BODY, "stored before the reset"
        proxy.set_rules([Rule("truncate", "GET")])
        with pytest.raises(ResponseStreamingError):
            got(client, s3_bucket, "x")
        proxy.set_rules([Rule("flip", "GET")])
        flipped = got(client, s3_bucket, "x")
        assert sum(one != other for one, other in zip(flipped, BODY, strict=True)) == 1
        assert got(client, s3_bucket, "x") == BODY
    assert proxy.faults == dict.fromkeys(("rst_before", "status", "hang", "rst_after", "truncate", "flip"), 1)


def test_a_rewritten_reply_has_other_text_and_the_right_length(s3_bucket: S3Location) -> None:
    with FaultProxy(s3_bucket.endpoint) as proxy:
        client = s3_bucket.client(proxy.endpoint)
        put(client, s3_bucket, "x")
        proxy.set_rules([Rule("rewrite", "GET", times=None, find="<Size>.*?</Size>", put="<Size>7</Size>")])
        listed = client.list_objects_v2(Bucket=s3_bucket.bucket, Prefix=s3_bucket.prefix)
        assert [entry["Size"] for entry in listed["Contents"]] == [7]
        proxy.set_rules([Rule("rewrite", "HEAD", find='(?i)(etag): "', put=r'\1: W/"')])
        head = client.head_object(Bucket=s3_bucket.bucket, Key=f"{s3_bucket.prefix}/x")
        assert (head["ETag"][:3], head["ContentLength"]) == ('W/"', len(BODY))
        proxy.set_rules([Rule("status", "GET", without="authorization", times=None)])
        assert got(client, s3_bucket, "x") == BODY, "a signed request has the header"
    assert proxy.faults == {"rewrite": 2}
