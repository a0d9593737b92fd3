"""The settings of `jobs/verify_labels.py`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict

from albert_infer.config.settings import DATA, Debug, LogFormatSetting, S3Endpoint


@Parameter(name="*", negative="", show_env_var=False)
class VerifySettings(BaseModel):
    """The settings of `jobs/verify_labels.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Annotated[str, Parameter(group=DATA, help="The folder of a published run: local path, file:// or s3://.")]
    input: Annotated[
        str | None,
        Parameter(group=DATA, help="The input of that run; with it every row is compared, in order, not only counted."),
    ] = None
    s3_endpoint: S3Endpoint = None
    log_format: LogFormatSetting = "text"
    debug: Debug = False
