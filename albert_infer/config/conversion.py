"""The settings of `jobs/convert_checkpoint.py`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict

from albert_infer.config.settings import DATA, MODEL, Debug, LabelOrder, Location, LogFormatSetting, S3Endpoint


@Parameter(name="*", negative="", show_env_var=False)
class ConvertSettings(BaseModel):
    """Which checkpoint is converted, where it goes, and what its outputs mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[
        str, Parameter(group=MODEL, help="A checkpoint folder (local or s3://), or a hub id `name@revision`.")
    ]
    output: Annotated[Location, Parameter(group=DATA, help="New folder for the converted checkpoint: local or s3://.")]
    label_order: Annotated[
        LabelOrder,
        Parameter(
            group=MODEL, help="The labels of outputs 0, 1, 2; by default what it calls them, else what a probe finds."
        ),
    ] = ()
    s3_endpoint: S3Endpoint = None
    log_format: LogFormatSetting = "text"
    debug: Debug = False
