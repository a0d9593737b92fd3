"""The S3 access settings of a run's input and output."""

from __future__ import annotations

from albert_infer.config import LabellingSettings
from albert_infer.storage import S3Access


def input_access(settings: LabellingSettings) -> S3Access:
    """The access settings of requests to the input."""
    return S3Access(
        settings.s3_endpoint, request_payer=settings.s3_request_payer, bucket_owner=settings.input_bucket_owner
    )


def output_access(settings: LabellingSettings) -> S3Access:
    """The access settings of requests to the output."""
    return S3Access(settings.s3_endpoint, kms_key=settings.s3_kms_key, bucket_owner=settings.output_bucket_owner)
