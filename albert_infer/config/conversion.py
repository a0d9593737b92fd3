"""The settings of `albert-infer convert` and `jobs/convert_checkpoint.py`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from albert_infer.config.shared import CheckpointChoice, Job, ModelName, Output, S3Server


class ConvertSettings(Job, CheckpointChoice, S3Server):
    """Which checkpoint to convert, where to write it, and which label each output means."""

    # No default: the built-in checkpoint needs no conversion.
    model: Annotated[ModelName, Parameter(help="A checkpoint folder (local or s3://), or a hub id `name@revision`.")]
    output: Annotated[Output, Parameter(help="New folder for the converted checkpoint: local or s3://.")]
