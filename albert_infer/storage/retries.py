"""Counts the S3 requests that this process has sent again."""

from __future__ import annotations

from typing import Any


class RetryCount:
    """A counter. One thread sends all S3 requests of a process, so the counter needs no lock."""

    def __init__(self) -> None:
        self.sent_again = 0

    def note(self, request: Any, **_: object) -> None:
        """Handle the SDK's event `request-created`, which precedes every attempt; the context counts from 1."""
        if request.context.get("retries", {}).get("attempt", 1) > 1:
            self.sent_again += 1

    def note_body(self) -> None:
        """Count the repeated fetch of an incomplete body, which is not a retry of the SDK."""
        self.sent_again += 1


RETRIES = RetryCount()


def s3_retries() -> int:
    """The number of S3 requests that this process has sent again since its start."""
    return RETRIES.sent_again
