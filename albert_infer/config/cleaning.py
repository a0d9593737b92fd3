"""The settings of `albert-infer clean` and `jobs/clean_runs.py`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from albert_infer.config.groups import LIMITS
from albert_infer.config.shared import Job, OutputOwner, OutputRoot, S3Server


class CleanSettings(Job, S3Server, OutputOwner):
    """Where to search for leftovers, how old they must be, and whether to delete them."""

    output_root: Annotated[
        OutputRoot, Parameter(help="An output, or a folder with outputs at any depth: local path or s3://.")
    ]
    # Longer than any run takes from its first unit to its publication, restarts included.
    keep_days: Annotated[
        int,
        Field(ge=1, le=36_500),
        Parameter(group=LIMITS, help="Keep files of the last N days, and all files of a run that wrote one of them."),
    ] = 30
    delete: Annotated[
        bool, Parameter(group=LIMITS, help="Delete the listed files; without this flag they are only listed.")
    ] = False
