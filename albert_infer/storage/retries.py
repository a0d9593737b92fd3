"""How often this process had to send an S3 request again: a count, and what the AWS SDK calls to keep it."""

from __future__ import annotations

from typing import Any


class RetryCount:
    """Only goes up. Written by the one thread that all S3 requests of a process run in, so it needs no lock."""

    def __init__(self) -> None:
        self.sent_again = 0

    def note(self, request: Any, **_: object) -> None:
        """Handle the SDK's `request-created`: it comes before every sending, and the context numbers them from 1."""
        if request.context.get("retries", {}).get("attempt", 1) > 1:
            self.sent_again += 1

    def note_body(self) -> None:
        """Count a body that broke off and is fetched again, which the SDK does not do."""
        self.sent_again += 1


RETRIES = RetryCount()


def s3_retries() -> int:
    """The S3 requests that this process has sent again since it began; 0 where none went wrong."""
    return RETRIES.sent_again
