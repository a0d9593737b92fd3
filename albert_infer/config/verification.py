"""The settings of `albert-infer verify` and `jobs/verify_labels.py`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from albert_infer.config.shared import Input, Job, Output, S3Server


class VerifySettings(Job, S3Server):
    """Which published run to recount, and what to compare it with."""

    output: Annotated[Output, Parameter(help="The folder of a published run: local path, file:// or s3://.")]
    input: Annotated[
        Input | None,
        Parameter(help="The input of that run; with it, rows are compared in order, not only counted."),
    ] = None
