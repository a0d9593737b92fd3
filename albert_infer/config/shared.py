"""The settings that several jobs have: each is declared once, in a class that those jobs inherit.

A job that uses one in its own way says so: it declares the name again with the type from here, and with its own help or
default. The bounds belong to the type.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field

from albert_infer import schema
from albert_infer.common.logs import LogFormat
from albert_infer.config.groups import DATA, LIMITS, MODEL, NO_FLAGS, SPEED, Mark
from albert_infer.config.values import AwsAccount, Count, LabelOrder, Location, OutputFolder, Root, Share, WorkerRange

# What the operator may ask for; `schema.Precision` is what a run resolves it to.
PrecisionSetting = Literal["auto", "fp32", "bf16", "int8"]

# Settings that every job describes in its own words.
Input = Annotated[Location, Parameter(group=DATA)]
Output = Annotated[OutputFolder, Parameter(group=DATA)]
OutputRoot = Annotated[Root, Parameter(group=DATA)]
Replace = Annotated[bool, Parameter(group=LIMITS)]
Workers = Annotated[WorkerRange | None, Parameter(group=SPEED)]

# Settings that most jobs describe as their mixin below does.
ModelName = Annotated[str, Parameter(group=MODEL)]
MaxLength = Annotated[int | None, Field(ge=schema.MIN_LENGTH), Parameter(group=MODEL)]
PrecisionChoice = Annotated[PrecisionSetting, Parameter(group=MODEL)]
ReviewBelow = Annotated[Share | None, Parameter(group=MODEL)]
GoldColumn = Annotated[str, Parameter(group=DATA)]


class Job(BaseModel):
    """The settings of every job; frozen, and valid once they exist."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What an interrupted job leaves, and how to go on.
    after_interrupt: ClassVar[str] = "run the same command again"

    log_format: Annotated[
        LogFormat, Parameter(group=LIMITS, help="`json` makes each line on stderr one JSON object, for a log store.")
    ] = "text"
    debug: Annotated[bool, Parameter(group=LIMITS, help="Print tracebacks and Ray's own logs.")] = False


class S3Server(BaseModel):
    """Which S3 server the places are on."""

    s3_endpoint: Annotated[
        str | None,
        Parameter(
            group=DATA,
            help="An S3 server that is not AWS (else AWS_ENDPOINT_URL). Credentials come from the AWS chain only.",
        ),
    ] = None


class OutputOwner(BaseModel):
    """Whose bucket the output may be in."""

    output_bucket_owner: Annotated[
        AwsAccount | None,
        Parameter(group=NO_FLAGS, help="Account that must own the output bucket: a stranger's is refused."),
        Mark.NO_FLAG,
    ] = None


class TextColumns(BaseModel):
    """What the columns of the pairs are called."""

    premise_column: Annotated[str, Parameter(group=DATA, help="The premise's column, if it is called otherwise.")] = (
        schema.PREMISE
    )
    hypothesis_column: Annotated[
        str, Parameter(group=DATA, help="The hypothesis's column, if it is called otherwise.")
    ] = schema.HYPOTHESIS


class GoldLabels(BaseModel):
    """Where the gold labels of pairs are."""

    gold_column: Annotated[
        GoldColumn, Parameter(help="The column of gold labels: their names, or 0, 1, 2; - or -1 for none.")
    ] = "gold_label"


class CheckpointChoice(BaseModel):
    """Which checkpoint is read, and what its outputs mean."""

    model: Annotated[
        ModelName, Parameter(help="`builtin`, a checkpoint folder (local or s3://), or a hub id `name@revision`.")
    ] = "builtin"
    label_order: Annotated[
        LabelOrder,
        Parameter(
            group=MODEL,
            help="The labels of outputs 0, 1, 2, for a checkpoint that calls them LABEL_0, … or by wrong names.",
        ),
    ] = ()


class Computing(BaseModel):
    """How a checkpoint reads pairs, and what it computes in."""

    max_length: Annotated[
        MaxLength,
        Parameter(help="Tokens a pair may have; the checkpoint's max_position_embeddings if not given."),
    ] = None
    precision: Annotated[
        PrecisionChoice,
        Parameter(help="`auto` is bf16 where the device computes in it, else fp32; int8 is for CPUs."),
    ] = "auto"


class Classifying(Computing):
    """How pairs are labelled, in a run or for an evaluation."""

    # What is cut off is never read: a window costs as much as a pair of the greatest length.
    long_premise: Annotated[
        schema.LongPremiseRule,
        Parameter(
            group=MODEL,
            help="Of a pair that is too long, cut the premise, cut the longer text first, or read all of the premise "
            "in overlapping windows, which adds `n_windows`.",
        ),
    ] = "truncate"
    # None, because what is unsure depends on the checkpoint: read it off a calibrated one's gold labels.
    review_below: Annotated[
        ReviewBelow,
        Parameter(help="Add `needs_review`: whether the label's probability is below this, for people to look at."),
    ] = None
    max_batch_tokens: Annotated[
        Count | None,
        Parameter(group=SPEED, help="Tokens a forward pass may have; lower it if the device runs out of memory."),
        Mark.RARE,
    ] = None
