"""The settings of several jobs. Each is declared once, in a class that those jobs inherit.

A job may declare a setting again, with the type from here and its own help or default. The bounds belong to the type.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field

from albert_infer import schema
from albert_infer.common.logs import LogFormat
from albert_infer.config.groups import DATA, LIMITS, MODEL, NO_FLAGS, SPEED, Mark
from albert_infer.config.values import AwsAccount, Count, LabelOrder, Location, OutputFolder, Root, Share, WorkerRange

# The choices of the operator. A run resolves each to a `schema.Precision`.
PrecisionSetting = Literal["auto", "fp32", "bf16", "fp16", "int8", "fp8"]

# Settings that every job describes in its own words.
Input = Annotated[Location, Parameter(group=DATA)]
Output = Annotated[OutputFolder, Parameter(group=DATA)]
OutputRoot = Annotated[Root, Parameter(group=DATA)]
Replace = Annotated[bool, Parameter(group=LIMITS)]
Workers = Annotated[WorkerRange | None, Parameter(group=SPEED)]

# Settings that most jobs describe as the class below does.
ModelName = Annotated[str, Parameter(group=MODEL)]
MaxLength = Annotated[int | None, Field(ge=schema.MIN_LENGTH), Parameter(group=MODEL)]
PrecisionChoice = Annotated[PrecisionSetting, Parameter(group=MODEL)]
ReviewBelow = Annotated[Share | None, Parameter(group=MODEL)]
GoldColumn = Annotated[str, Parameter(group=DATA)]
AllowCpu = Annotated[bool, Parameter(group=SPEED), Mark.RARE]


class SettingsPart(BaseModel):
    """Settings that a job consists of."""

    # A program builds the checks of its own job only. To build those of all jobs takes 0.1 s.
    model_config = ConfigDict(defer_build=True)


class Job(SettingsPart):
    """The settings of every job. Instances are frozen and always valid."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # How to resume an interrupted job.
    after_interrupt: ClassVar[str] = "run the same command again"

    log_format: Annotated[
        LogFormat, Parameter(group=LIMITS, help="`json` makes each line on stderr one JSON object, for a log store.")
    ] = "text"
    debug: Annotated[bool, Parameter(group=LIMITS, help="Print tracebacks and Ray's own logs.")] = False


class S3Server(SettingsPart):
    """The S3 server of all locations."""

    s3_endpoint: Annotated[
        str | None,
        Parameter(
            group=DATA,
            help="URL of an S3 server other than AWS; default: AWS_ENDPOINT_URL. Credentials come only from the AWS "
            "chain.",
        ),
    ] = None


class OutputOwner(SettingsPart):
    """The AWS account of the output bucket."""

    output_bucket_owner: Annotated[
        AwsAccount | None,
        Parameter(group=NO_FLAGS, help="AWS account that must own the output bucket; buckets of others are refused."),
        Mark.NO_FLAG,
    ] = None


class TextColumns(SettingsPart):
    """The names of the text columns."""

    premise_column: Annotated[str, Parameter(group=DATA, help="Column of the premise.")] = schema.PREMISE
    hypothesis_column: Annotated[str, Parameter(group=DATA, help="Column of the hypothesis.")] = schema.HYPOTHESIS


class GoldLabels(SettingsPart):
    """The column of gold labels."""

    gold_column: Annotated[
        GoldColumn, Parameter(help="Column of gold labels: names, or 0, 1, 2; `-` or -1 for no label.")
    ] = "gold_label"


class CheckpointChoice(SettingsPart):
    """Which checkpoint is loaded, and which label each output means."""

    model: Annotated[
        ModelName, Parameter(help="`builtin`, a checkpoint folder (local or s3://), or a hub id `name@revision`.")
    ] = "builtin"
    label_order: Annotated[
        LabelOrder,
        Parameter(
            group=MODEL,
            help="Labels of outputs 0, 1, …, for a checkpoint that names them LABEL_0, … or wrongly.",
        ),
    ] = ()


class Computing(SettingsPart):
    """How many tokens a checkpoint reads, and in which precision it computes."""

    max_length: Annotated[
        MaxLength,
        Parameter(help="Maximum tokens per pair; default: max_position_embeddings of the checkpoint."),
    ] = None
    precision: Annotated[
        PrecisionChoice,
        Parameter(
            help="`auto` is bf16 where the device supports it, fp16 on older GPUs, else fp32; int8 is for CPUs, fp8 "
            "for wide checkpoints on GPUs since Ada and Hopper."
        ),
    ] = "auto"


class Classifying(Computing):
    """How pairs are labelled, in a run or for an evaluation."""

    # Text that is cut off is never read. A window costs as much as a pair of the maximum length.
    long_premise: Annotated[
        schema.LongPremiseRule,
        Parameter(
            group=MODEL,
            help="Rule for pairs that are too long: `truncate` cuts the premise, `longest_first` cuts the longer "
            "text first, `window` reads the premise in overlapping windows and adds `n_windows`.",
        ),
    ] = "truncate"
    # No default: the right threshold depends on the checkpoint. `albert-infer evaluate` shows it.
    review_below: Annotated[
        ReviewBelow,
        Parameter(help="Add `needs_review`: true if the label's probability is below this."),
    ] = None
    max_batch_tokens: Annotated[
        Count | None,
        Parameter(group=SPEED, help="Maximum tokens per forward pass; lower it if the device runs out of memory."),
        Mark.RARE,
    ] = None
