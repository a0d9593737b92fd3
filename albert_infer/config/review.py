"""The settings of `albert-infer review` and `jobs/review_labels.py`."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from cyclopts import Parameter
from pydantic import AfterValidator, model_validator

from albert_infer.config.groups import DATA, LIMITS
from albert_infer.config.shared import Job, S3Server
from albert_infer.config.values import AnyLocation, Count, Location, OutputFolder


def _review_file(location: str) -> str:
    if PurePosixPath(location).suffix not in {".json", ".csv", ".parquet"}:
        raise ValueError("expected a name that ends in .json (Label Studio), .csv or .parquet")
    return location


ReviewFile = Annotated[AnyLocation, AfterValidator(_review_file), Parameter(group=DATA)]


class ReviewSettings(Job, S3Server):
    """Which pairs of a run a person reviews; or where the answers go as a gold set."""

    file: Annotated[
        ReviewFile,
        Parameter(help="The review file (.json for Label Studio, .csv, .parquet): written from --run, or read."),
    ]
    run: Annotated[
        Location | None, Parameter(group=DATA, help="The folder of a published run, whose pairs are to be reviewed.")
    ] = None
    gold_output: Annotated[
        OutputFolder | None,
        Parameter(group=DATA, help="A new folder for the gold set that the answers in --file make."),
    ] = None
    select: Annotated[
        Literal["needs_review", "least_certain", "stratified"] | None,
        Parameter(
            group=DATA,
            help="Pairs that are marked needs_review, the least certain ones, or as many of each label at random; by "
            "default the marked ones if the run has any, else the least certain.",
        ),
    ] = None
    rows: Annotated[Count, Parameter(group=LIMITS, help="Pairs to write at most.")] = 200

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if (self.run is None) == (self.gold_output is None):
            raise ValueError("give --run to write pairs for a review, or --gold-output to read the answers")
        return self
