"""The settings of each job: name, type, default, and why one would change it. Frozen, and valid once they exist."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from cyclopts import Group, Parameter
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from albert_infer import schema
from albert_infer.common.logs import LogFormat
from albert_infer.config.values import LabelOrder, Location, Names, OutputFolder, Place

# What the operator may ask for; `schema.Precision` is what a run resolves it to.
PrecisionSetting = Literal["auto", "fp32", "bf16", "int8"]

# An AWS account id.
ACCOUNT = r"^\d{12}$"

DATA = Group("Input and output", sort_key=1)
MODEL = Group("Model", sort_key=2)
SPEED = Group("Speed and resources", sort_key=3)
LIMITS = Group("Limits and safety", sort_key=4)


# Settings of every job.
S3Endpoint = Annotated[
    str | None,
    Parameter(
        group=DATA,
        help="An S3 server that is not AWS (else AWS_ENDPOINT_URL). Credentials come from the AWS chain only.",
    ),
]
LogFormatSetting = Annotated[
    LogFormat, Parameter(group=LIMITS, help="`json` makes each line on stderr one JSON object, for a log store.")
]
Debug = Annotated[bool, Parameter(group=LIMITS, help="Print tracebacks and Ray's own logs.")]


@Parameter(name="*", negative="", show_env_var=False)
class LabellingSettings(BaseModel):
    """How pairs are labelled, wherever they come from; frozen and valid by construction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    premise_column: Annotated[
        str, Parameter(group=DATA, help="The premise's column, if the input calls it otherwise.")
    ] = schema.PREMISE
    hypothesis_column: Annotated[
        str, Parameter(group=DATA, help="The hypothesis's column, if the input calls it otherwise.")
    ] = schema.HYPOTHESIS
    id_column: Annotated[
        str | None,
        Parameter(group=DATA, help="The pair's id, which must exist, or `none`; else `pair_id` is taken if it does."),
    ] = None
    carry: Annotated[
        Names,
        Parameter(group=DATA, help="Input columns to keep in the output, as `a,b`, or `all`."),
    ] = ()
    carry_source: Annotated[
        bool, Parameter(group=DATA, help="Add `source_file` and `source_row`: the way back to the input row.")
    ] = False
    ignore_table_format: Annotated[
        bool,
        Parameter(
            group=DATA,
            help="Read every file of a Delta, Iceberg or Hudi table, rows that the table has deleted too.",
        ),
    ] = False
    s3_endpoint: S3Endpoint = None
    s3_kms_key: Annotated[
        str | None,
        Field(min_length=1),
        Parameter(group=DATA, help="Have S3 encrypt the output with this KMS key (id or ARN), not the bucket's own."),
    ] = None
    s3_request_payer: Annotated[
        bool, Parameter(group=DATA, help="Pay for reading an input bucket whose owner lets requesters pay.")
    ] = False
    input_bucket_owner: Annotated[
        str | None,
        Field(pattern=ACCOUNT),
        Parameter(group=DATA, help="Account that must own the input bucket: one of the same name is refused."),
    ] = None
    output_bucket_owner: Annotated[
        str | None,
        Field(pattern=ACCOUNT),
        Parameter(group=DATA, help="Account that must own the output bucket, so that no text goes to a stranger's."),
    ] = None

    model: Annotated[
        str,
        Parameter(group=MODEL, help="`builtin`, a checkpoint folder (local or s3://), or a hub id `name@revision`."),
    ] = "builtin"
    model_digest: Annotated[
        str | None,
        Parameter(group=MODEL, help="Refuse any other bytes than these: `model.digest` of a report that you trust."),
    ] = None
    label_order: Annotated[
        LabelOrder,
        Parameter(
            group=MODEL,
            help="The labels of outputs 0, 1, 2, for a checkpoint that calls them LABEL_0, … or by wrong names.",
        ),
    ] = ()
    truncation: Annotated[
        Literal["premise", "longest_first"],
        Parameter(group=MODEL, help="What a pair that is too long loses; `premise` never cuts the hypothesis."),
    ] = "premise"
    # What is truncated is never read: a window costs as much as a pair of the greatest length.
    long_premise: Annotated[
        Literal["truncate", "window"],
        Parameter(
            group=MODEL,
            help="`window` reads all of a premise that does not fit, in overlapping windows, and adds `n_windows`.",
        ),
    ] = "truncate"
    max_length: Annotated[
        int | None,
        Field(ge=schema.MIN_LENGTH),
        Parameter(group=MODEL, help="Tokens a pair may have; the checkpoint's max_position_embeddings if not given."),
    ] = None
    precision: Annotated[
        PrecisionSetting,
        Parameter(group=MODEL, help="`auto` is bf16 where the device computes in it, else fp32; int8 is for CPUs."),
    ] = "auto"

    # None, because what is unsure depends on the checkpoint: read it off a calibrated one's gold labels.
    review_below: Annotated[
        float | None,
        Field(ge=0, le=1),
        Parameter(
            group=MODEL,
            help="Add `needs_review`: whether the label's probability is below this, for people to look at.",
        ),
    ] = None

    workers: Annotated[
        str | None,
        Parameter(group=SPEED, help="Classify actors, N or MIN:MAX; by default one a GPU, or what the CPUs carry."),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        Field(ge=0),
        Parameter(group=SPEED, help="GPUs an actor takes: 1 by default where there are GPUs; 0 forces the CPU."),
    ] = None
    # None, because nobody but the operator knows that GPUs can come: a run of CPUs must not wait for them.
    gpu_wait_minutes: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False),
        Parameter(
            group=SPEED,
            help="Label on GPUs that the cluster starts on demand: wait so long for the first instead of taking CPUs.",
        ),
    ] = None
    cpus_per_worker: Annotated[
        int | None,
        Field(ge=0),
        Parameter(group=SPEED, help="Logical CPUs an actor takes on a machine without GPUs; its torch threads follow."),
    ] = None
    max_batch_tokens: Annotated[
        int | None,
        Field(ge=1),
        Parameter(group=SPEED, help="Tokens a forward pass may have; lower it if the device runs out of memory."),
    ] = None
    # 16,384 rows are seconds of GPU time and about 4 MB of Parquet: small enough to lose, large enough to be a file.
    unit_rows: Annotated[
        int, Field(ge=1), Parameter(group=SPEED, help="Rows committed as one: what a kill may cost, and a file's size.")
    ] = 16_384

    max_bad_files: Annotated[
        int,
        Field(ge=0),
        Parameter(group=LIMITS, help="Unreadable input files to accept; above it nothing is published."),
    ] = 0
    max_rows: Annotated[
        int | None,
        Field(ge=1),
        Parameter(group=LIMITS, help="Input rows to accept; above it nothing is labelled: a cap on the cost of a run."),
    ] = None
    max_rejected_share: Annotated[
        float,
        Field(ge=0, le=1),
        Parameter(group=LIMITS, help="Share of rows without a label to accept; above it nothing is published."),
    ] = 0.05
    require_probe: Annotated[
        bool,
        Parameter(
            group=LIMITS,
            help="Refuse a checkpoint whose label order 30 easy English pairs do not show to be right.",
        ),
    ] = False
    # 1,000 pairs tell 98 from 99 in 100, and take an ALBERT-base on two cores about a minute, most of it in fp32.
    agreement_sample: Annotated[
        int,
        Field(ge=0),
        Parameter(
            group=LIMITS,
            help="Pairs to label in fp32 too before a run in bf16 or int8, 0 for none; 1000 take a CPU a minute.",
        ),
    ] = 1000
    min_agreement: Annotated[
        float,
        Field(ge=0, le=1),
        Parameter(
            group=LIMITS, help="Share of labels that must be those of fp32; a sample clearly below it ends the run."
        ),
    ] = 0.99
    gold: Annotated[
        Place | None,
        Parameter(
            group=LIMITS,
            help="Pairs with gold labels that are labelled first: Parquet whose texts are called as those of --input.",
        ),
    ] = None
    gold_column: Annotated[str, Parameter(group=LIMITS, help="The gold labels' column in --gold.")] = "gold_label"
    min_accuracy: Annotated[
        float | None,
        Field(ge=0, le=1),
        Parameter(
            group=LIMITS, help="Share of the labels of --gold that must be the gold ones; below it nothing is labelled."
        ),
    ] = None
    retry_quarantined: Annotated[
        bool,
        Parameter(group=LIMITS, help="Try the units again that an earlier start could not read or label."),
    ] = False
    log_format: LogFormatSetting = "text"
    debug: Debug = False

    @field_validator("workers")
    @classmethod
    def _workers_are_a_range(cls, value: str | None) -> str | None:
        if value is not None:
            parts = value.split(":")
            if (
                len(parts) > 2
                or not all(part.isdecimal() for part in parts)
                or not 1 <= int(parts[0]) <= int(parts[-1])
            ):
                raise ValueError("expected N or MIN:MAX with 1 <= MIN <= MAX")
        return value

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_are_whole_or_a_part_of_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and not value.is_integer():
            raise ValueError("expected a part of one GPU, or a whole number")  # Ray schedules nothing between
        return value

    @field_validator("model_digest")
    @classmethod
    def _model_digest_is_a_sha256(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value.lower()):
            raise ValueError("expected 64 hexadecimal digits")
        return value and value.lower()

    @field_validator("carry")
    @classmethod
    def _carried_columns_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("expected each column once")
        if "all" in value and len(value) > 1:
            raise ValueError("`all` stands alone, for every column of the input; leave out it or the others")
        if (alike := schema.names_alike(value)) is not None:
            raise ValueError(f"`{alike[0]}` and `{alike[1]}` are one column to readers that do not look at case")
        return value

    @model_validator(mode="after")
    def _gpus_are_waited_for_only_if_taken(self) -> Self:
        if self.gpu_wait_minutes is not None and self.gpus_per_worker == 0:
            raise ValueError("gpu_wait_minutes: with gpus_per_worker=0 no GPU is taken that could be waited for")
        return self

    @model_validator(mode="after")
    def _accuracy_is_of_a_gold_set(self) -> Self:
        if self.min_accuracy is not None and self.gold is None:
            raise ValueError("min_accuracy: there is no gold set to measure it on; name one with --gold")
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        names = [self.premise_column, self.hypothesis_column, *([self.id_column] if self.id_column else [])]
        if len(set(names)) < len(names):
            raise ValueError("premise_column, hypothesis_column and id_column must be three different columns")
        if (clash := schema.same_name(self.carry, self.reserved_names)) is not None:
            raise ValueError(f"carry: `{clash}` is the name of a column of ours; rename it in the input")
        return self

    @model_validator(mode="after")
    def _windows_leave_the_hypothesis_whole(self) -> Self:
        if self.long_premise == "window" and self.truncation != "premise":
            raise ValueError("long_premise=window cuts nothing, so it goes with truncation=premise only")
        return self

    @property
    def reserved_names(self) -> frozenset[str]:
        """What a carried column must not be called: the names of our columns in this run."""
        added = {schema.NEEDS_REVIEW: self.review_below is not None, schema.N_WINDOWS: self.long_premise == "window"}
        return schema.RESERVED_NAMES | {name for name, is_ours in added.items() if is_ours}

    @property
    def worker_range(self) -> tuple[int, int] | None:
        """The least and the most classify actors, or None to follow the cluster."""
        if self.workers is None:
            return None
        low, _, high = self.workers.partition(":")
        return int(low), int(high or low)


class PairPlaces(BaseModel):
    """Where the pairs of one run come from, and where its labels go."""

    input: Annotated[
        Location,
        Parameter(group=DATA, help="Parquet pairs: a folder (at any depth) or one file; local path, file:// or s3://."),
    ]
    output: Annotated[
        OutputFolder,
        Parameter(group=DATA, help="Folder for the labelled Parquet; must not lie inside the input, nor hold it."),
    ]


# The places are the last of the bases, because pydantic puts the fields of those first.
@Parameter(name="*", negative="", show_env_var=False)
class LabelSettings(LabellingSettings, PairPlaces):
    """The settings of `jobs/label_pairs.py`."""

    replace: Annotated[
        bool, Parameter(group=LIMITS, help="Publish over the run that stands at the output; shared units are kept.")
    ] = False
