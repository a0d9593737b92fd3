"""The settings of `albert-infer clean` and `jobs/clean_runs.py`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from albert_infer.config.groups import LIMITS
from albert_infer.config.shared import Job, OutputOwner, OutputRoot, S3Server


class CleanSettings(Job, S3Server, OutputOwner):
    """Where leftovers are looked for, how old they must be, and whether they go."""

    output_root: Annotated[
        OutputRoot, Parameter(help="An output, or a folder with outputs at any depth: local path or s3://.")
    ]
    # Longer than a run may take, from its first unit to its publishing, with all the starts that it needs.
    keep_days: Annotated[
        int,
        Field(ge=1, le=36_500),
        Parameter(
            group=LIMITS, help="Keep what was written within so many days, and all of a run that wrote any of it."
        ),
    ] = 30
    delete: Annotated[bool, Parameter(group=LIMITS, help="Delete what is listed; else it is only listed.")] = False
