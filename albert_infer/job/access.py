"""The S3 access settings of a run's input and output."""

from __future__ import annotations

from albert_infer import storage
from albert_infer.config import LabellingSettings, LabelSettings
from albert_infer.errors import InputError, ObjectMissingError
from albert_infer.storage import InputObjects, S3Access


def input_access(settings: LabellingSettings) -> S3Access:
    """The access settings of requests to the input."""
    return S3Access(
        settings.s3_endpoint, request_payer=settings.s3_request_payer, bucket_owner=settings.input_bucket_owner
    )


def output_access(settings: LabellingSettings) -> S3Access:
    """The access settings of requests to the output."""
    return S3Access(settings.s3_endpoint, kms_key=settings.s3_kms_key, bucket_owner=settings.output_bucket_owner)


def planned_input(settings: LabelSettings) -> InputObjects:
    """The objects of the input that the run was planned for, as they are now. Raises ObjectMissingError if none is."""
    try:
        return storage.resolve_input(settings.input, input_access(settings))
    except InputError as error:
        # It was there when the run was planned: not the operator's mistake, and not too late.
        raise ObjectMissingError(error.asked, error.problem, "put it back, then run it again") from error
