"""Turns the errors of botocore, its HTTP library and S3 servers into AlbertInferErrors."""

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
from albert_infer.storage.folder import AccessError, ArchivedError, UnsupportedError

# The errors for a missing or incomplete answer, after botocore's retries.
NO_ANSWER: Final = (
    NotReached, HTTPClientError, IncompleteReadError, FlexibleChecksumError, ResponseParserError, NoAnswer, OSError
)  # fmt: skip

# The verb of each operation for messages, and the rights that it needs.
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
    "delete_object": ("deleting", "s3:DeleteObject"),
}
_ENDPOINT: Final = "set AWS_DEFAULT_REGION to the bucket's region, or correct --s3-endpoint (AWS_ENDPOINT_URL)"
_CREDENTIALS: Final = "check the AWS credentials of this process"
# The problem and the remedy for codes after which a retry does not help.
CAUSES: Final = {
    "NoSuchBucket": ("the bucket does not exist", "create it, or correct the URI"),
    **{
        code: (f"the credentials were refused ({code})", _CREDENTIALS)
        for code in (
            *("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"),
            *("InvalidClientTokenId", "InvalidSecurity", "NotSignedUp"),
        )
    },
    **{
        code: (f"the clock of this machine differs too much from the server's ({code})", "set the clock, by NTP")
        for code in ("RequestTimeTooSkewed", "RequestExpired")
    },
    **{
        code: (f"the request was signed for another region ({code})", _ENDPOINT)
        for code in ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion")
    },
    "PermanentRedirect": ("the bucket is at another endpoint (PermanentRedirect)", _ENDPOINT),
    "EntityTooLarge": ("the object is too large for this server (EntityTooLarge)", "lower --unit-rows"),
    "KeyTooLongError": ("the key is too long (KeyTooLongError)", "choose a shorter --output"),
}
# A request that arrived late or damaged (400), or at the same time as another (409), succeeds at a retry.
_PASSING_CODES: Final = frozenset(
    {
        *("RequestTimeout", "IncompleteBody", "BadDigest", "InvalidDigest"),
        *("XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
    }
)
_PASSING: Final = frozenset({408, 409, 425, 429})


@contextmanager
def translated(operation: str, uri: str) -> Iterator[None]:
    """Turn the exceptions of botocore and its HTTP library into AlbertInferErrors.

    A message has only codes and names of types: texts of the server and of credential helpers may hold secrets.
    """
    verb, _ = RIGHTS[operation]
    try:
        yield
    except RecursionError as error:
        # The SDK follows each redirect to look up the bucket's region, and never ends.
        problem = "the bucket is at another endpoint: each answer is a redirect without a target"
        raise AccessError(f"{verb} {uri}", problem, _ENDPOINT) from error
    except (ClientError, BotoCoreError, *NO_ANSWER) as error:
        # s3fs turns an answer with an error code into an OSError, with the answer as the cause.
        answer = error.__cause__ if isinstance(error.__cause__, ClientError) else error
        if isinstance(answer, ClientError):
            status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise reply_error(operation, uri, status, answer.response["Error"].get("Code", "")) from error
        if isinstance(error, NO_ANSWER):
            problem = f"no whole answer from the server ({type(error).__name__})"
            raise InfrastructureError(f"{verb} {uri}", problem, "check the endpoint and start the run again") from error
        problem = f"the AWS SDK refused ({type(error).__name__})"
        remedy = "check the AWS credentials, profile and region of this process"
        raise AccessError(f"{verb} {uri}", problem, remedy) from error


def reply_error(operation: str, uri: str, status: int, code: str) -> InfrastructureError:
    """The error for an unsuccessful answer of the server."""
    verb, right = RIGHTS[operation]
    asked, problem = f"{verb} {uri}", f"S3 answered {code} ({status})"
    if code in CAUSES:
        return AccessError(asked, *CAUSES[code])
    if code == "InvalidObjectState":  # a 403, but no right is missing
        return ArchivedError(asked, "it is in an archive storage class", "restore it, or take it out of the input")
    if code.startswith("KMS."):
        remedy = "check s3_kms_key, its region, and the rights kms:GenerateDataKey and kms:Decrypt"
        return AccessError(asked, f"KMS answered {code} ({status})", remedy)
    if status in {401, 403}:
        return AccessError(asked, problem, f"grant {right}, or {_CREDENTIALS}")
    if status in {405, 501}:
        return UnsupportedError(asked, problem, "use an S3 server that supports this request, with conditional PUTs")
    if status == 404:
        return ObjectMissingError(asked, "it is not there", "put it back, then start the run again")
    if status in {412, 416}:
        return ObjectChangedError(asked, f"it has changed ({code})", "start the run again to plan it again")
    if 300 <= status < 400:
        return AccessError(asked, f"the bucket is at another endpoint ({problem})", _ENDPOINT)
    if 400 <= status < 500 and status not in _PASSING and code not in _PASSING_CODES:
        remedy = "use an S3 server that takes this request (docs/how-to/stores.md), or correct the URI and the endpoint"
        return UnsupportedError(asked, problem, remedy)
    return InfrastructureError(asked, problem, "start the run again; it resumes from the finished units")
