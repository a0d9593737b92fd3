"""The settings of `albert-infer report` and `jobs/report_labels.py`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from pydantic import model_validator

from albert_infer.config.groups import DATA
from albert_infer.config.shared import Job, Output, OutputOwner, S3Server


class ReportSettings(Job, S3Server, OutputOwner):
    """Which published run gets a page, or below which folder the runs get an index."""

    output: Annotated[Output, Parameter(help="The folder of a published run: local path, file:// or s3://.")]
    index: Annotated[
        bool, Parameter(group=DATA, help="Make an index of all runs in and below --output, such as one run a night.")
    ] = False
    include_texts: Annotated[
        bool, Parameter(group=DATA, help="Show the least certain pairs and some others, with their texts.")
    ] = False

    @model_validator(mode="after")
    def _texts_are_of_one_run(self) -> ReportSettings:
        if self.include_texts and self.index:
            raise ValueError("--include-texts is for the page of one run: leave out --index")
        return self
