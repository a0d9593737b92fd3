"""What botocore, its HTTP library and an S3 server say, told as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import ClientError as NoAnswer
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import (
    ConnectionError as NotReached,
)
from botocore.parsers import ResponseParserError

from albert_infer.errors import InfrastructureError, ObjectChangedError, ObjectMissingError
from albert_infer.storage.folder import AccessError, ArchivedError

# What no answer, or half of one, looks like; all that botocore did not retry, or retried in vain.
NO_ANSWER: Final = (
    NotReached, HTTPClientError, IncompleteReadError, FlexibleChecksumError, ResponseParserError, NoAnswer, OSError
)  # fmt: skip

# What an operation is called in a message, and the rights that it needs.
RIGHTS: Final = {
    "connect": ("connecting to S3 for", ""),
    "list_objects_v2": ("listing", "s3:ListBucket"),
    "head_object": ("looking for", "s3:GetObject and s3:ListBucket"),
    "get_object": ("reading", "s3:GetObject, with a KMS key also kms:Decrypt"),
    "put_object": ("writing", "s3:PutObject, with a KMS key also kms:GenerateDataKey"),
    "copy_object": (
        "copying to",
        "s3:GetObject and s3:PutObject, with a KMS key also kms:Decrypt and kms:GenerateDataKey",
    ),
    "delete_objects": ("deleting", "s3:DeleteObject"),
}
REFUSED_CREDENTIALS: Final = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"}
)


@contextmanager
def translated(operation: str, uri: str) -> Iterator[None]:
    """Turn what botocore and its HTTP library raise into our errors.

    Only codes and names of types go into the message: texts of the server and of credential helpers may hold secrets.
    """
    verb, _ = RIGHTS[operation]
    try:
        yield
    except (ClientError, BotoCoreError, *NO_ANSWER) as error:
        # s3fs makes an OSError of an answer with an error code, and keeps the answer as its cause.
        answer = error.__cause__ if isinstance(error.__cause__, ClientError) else error
        if isinstance(answer, ClientError):
            status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise reply_error(operation, uri, status, answer.response["Error"].get("Code", "")) from error
        if isinstance(error, NO_ANSWER):
            found = f"no whole answer from the server ({type(error).__name__})"
            raise InfrastructureError(f"{verb} {uri}", found, "check the endpoint and start the run again") from error
        found = f"the AWS SDK refused ({type(error).__name__})"
        remedy = "check the AWS credentials, profile and region of this process"
        raise AccessError(f"{verb} {uri}", found, remedy) from error


def reply_error(operation: str, uri: str, status: int, code: str) -> InfrastructureError:
    """Make our error of an answer of the server that is not a success."""
    verb, right = RIGHTS[operation]
    asked, found = f"{verb} {uri}", f"S3 answered {code} ({status})"
    if code == "NoSuchBucket":
        return AccessError(asked, "the bucket does not exist", "create it, or correct the URI")
    if code in REFUSED_CREDENTIALS:
        return AccessError(asked, f"the credentials were refused ({code})", "check the AWS credentials of this process")
    if code == "InvalidObjectState":  # a 403, but no right is missing
        return ArchivedError(asked, "it is in an archive storage class", "restore it, or take it out of the input")
    if code.startswith("KMS."):
        remedy = "check --s3-kms-key, its region, and the rights kms:GenerateDataKey and kms:Decrypt"
        return AccessError(asked, f"KMS answered {code} ({status})", remedy)
    if status in {401, 403}:
        return AccessError(asked, found, f"grant {right}, or check the AWS credentials of this process")
    if status in {405, 501}:
        return AccessError(asked, found, "use an S3 server that supports this request, with conditional PUTs")
    if status == 404:
        return ObjectMissingError(asked, "it is not there", "put it back, then start the run again")
    if status in {412, 416}:
        return ObjectChangedError(asked, f"it is another object by now ({code})", "start the run again to plan it anew")
    return InfrastructureError(asked, found, "start the run again; it goes on from what is there")
