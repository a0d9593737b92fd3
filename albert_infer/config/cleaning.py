"""The settings of `jobs/clean_runs.py`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field

from albert_infer.config.settings import ACCOUNT, DATA, LIMITS, Debug, S3Endpoint
from albert_infer.config.values import Location


@Parameter(name="*", negative="", show_env_var=False)
class CleanSettings(BaseModel):
    """Where leftovers are looked for, how old they must be, and whether they go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output_root: Annotated[
        Location, Parameter(group=DATA, help="An output, or a folder with outputs at any depth: local path or s3://.")
    ]
    s3_endpoint: S3Endpoint = None
    output_bucket_owner: Annotated[
        str | None,
        Field(pattern=ACCOUNT),
        Parameter(group=DATA, help="Account that must own the bucket: nothing is deleted from a stranger's."),
    ] = None
    # Longer than a run may take, from its first unit to its publishing, with all the starts that it needs.
    keep_days: Annotated[
        int,
        Field(ge=1, le=36_500),
        Parameter(
            group=LIMITS, help="Keep what was written within so many days, and all of a run that wrote any of it."
        ),
    ] = 30
    delete: Annotated[bool, Parameter(group=LIMITS, help="Delete what is listed; else it is only listed.")] = False
    debug: Debug = False
