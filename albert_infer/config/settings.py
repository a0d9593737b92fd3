"""The settings of `albert-infer label` and `jobs/label_pairs.py`; and those of them that nights have too."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Self

from cyclopts import Parameter
from pydantic import BaseModel, Field, field_validator, model_validator

from albert_infer import schema
from albert_infer.config.groups import DATA, LIMITS, MODEL, NO_FLAGS, SPEED, Mark
from albert_infer.config.shared import (
    CheckpointChoice,
    Classifying,
    GoldColumn,
    GoldLabels,
    Input,
    Job,
    Output,
    OutputOwner,
    Replace,
    S3Server,
    TextColumns,
    Workers,
)
from albert_infer.config.values import AgreementShare, AwsAccount, Count, Names, Place, Share, agreement_asked


class PairPlaces(BaseModel):
    """Where the pairs of one run come from, and where its labels go."""

    input: Annotated[
        Input,
        Parameter(help="Parquet pairs: a folder (at any depth) or one file; local path, file:// or s3://."),
    ]
    output: Annotated[
        Output,
        Parameter(help="Folder for the labelled Parquet; must not lie inside the input, nor hold it."),
    ]
    replace: Annotated[
        Replace, Parameter(help="Publish over the run that stands at the output; shared units are kept.")
    ] = False


class InputColumns(TextColumns):
    """Which columns of the input are read and kept."""

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
        Mark.RARE,
    ] = False

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


class S3Rules(S3Server, OutputOwner):
    """What requests to S3 carry. They have no flags: they are the same for every run of a deployment."""

    s3_kms_key: Annotated[
        str | None,
        Field(min_length=1),
        Parameter(
            group=NO_FLAGS, help="Have S3 encrypt the output with this KMS key (id or ARN), not the bucket's own."
        ),
        Mark.NO_FLAG,
    ] = None
    s3_request_payer: Annotated[
        bool,
        Parameter(group=NO_FLAGS, help="Pay for reading an input bucket whose owner lets requesters pay."),
        Mark.NO_FLAG,
    ] = False
    input_bucket_owner: Annotated[
        AwsAccount | None,
        Parameter(group=NO_FLAGS, help="Account that must own the input bucket: one of the same name is refused."),
        Mark.NO_FLAG,
    ] = None


class PinnedCheckpoint(CheckpointChoice):
    """Which checkpoint labels, and which bytes it must have."""

    model_digest: Annotated[
        str | None,
        Parameter(group=MODEL, help="Refuse any other bytes than these: `model.digest` of a report that you trust."),
        Mark.RARE,
    ] = None

    @field_validator("model_digest")
    @classmethod
    def _model_digest_is_a_sha256(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value.lower()):
            raise ValueError("expected 64 hexadecimal digits")
        return value and value.lower()


class Resources(BaseModel):
    """How many actors classify, what each takes, and how much is committed at once."""

    workers: Annotated[
        Workers,
        Parameter(help="Classify actors, N or MIN:MAX; by default one a GPU, or what the CPUs carry."),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        Field(ge=0),
        Parameter(group=SPEED, help="GPUs an actor takes: 1 by default where there are GPUs; 0 forces the CPU."),
        Mark.RARE,
    ] = None
    # None, because nobody but the operator knows that GPUs can come: a run of CPUs must not wait for them.
    gpu_wait_minutes: Annotated[
        float | None,
        Field(gt=0),
        Parameter(
            group=SPEED,
            help="Label on GPUs that the cluster starts on demand: wait so long for the first instead of taking CPUs.",
        ),
        Mark.RARE,
    ] = None
    cpus_per_worker: Annotated[
        int | None,
        Field(ge=0),
        Parameter(group=SPEED, help="Logical CPUs an actor takes on a machine without GPUs; its torch threads follow."),
        Mark.RARE,
    ] = None
    # 16,384 rows are seconds of GPU time and about 4 MB of Parquet: small enough to lose, large enough to be a file.
    unit_rows: Annotated[
        Count,
        Parameter(group=SPEED, help="Rows committed as one: what a kill may cost, and a file's size."),
        Mark.RARE,
    ] = 16_384

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_are_whole_or_a_part_of_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and not value.is_integer():
            raise ValueError("expected a part of one GPU, or a whole number")  # Ray schedules nothing between
        return value

    @model_validator(mode="after")
    def _gpus_are_waited_for_only_if_taken(self) -> Self:
        if self.gpu_wait_minutes is not None and self.gpus_per_worker == 0:
            raise ValueError("gpu_wait_minutes: with gpus_per_worker=0 no GPU is taken that could be waited for")
        return self

    @property
    def worker_range(self) -> tuple[int, int] | None:
        """The least and the most classify actors, or None to follow the cluster."""
        if self.workers is None:
            return None
        low, _, high = self.workers.partition(":")
        return int(low), int(high or low)


class Limits(BaseModel):
    """What a run must keep to, for its labels to be published."""

    max_bad_files: Annotated[
        int,
        Field(ge=0),
        Parameter(group=LIMITS, help="Unreadable input files to accept; above it nothing is published."),
    ] = 0
    max_rows: Annotated[
        Count | None,
        Parameter(group=LIMITS, help="Input rows to accept; above it nothing is labelled: a cap on the cost of a run."),
    ] = None
    max_rejected_share: Annotated[
        Share,
        Parameter(group=LIMITS, help="Share of rows without a label to accept; above it nothing is published."),
    ] = 0.05
    require_probe: Annotated[
        bool,
        Parameter(
            group=LIMITS,
            help="Refuse a checkpoint whose label order 30 easy English pairs do not show to be right.",
        ),
        Mark.RARE,
    ] = False
    min_agreement: Annotated[
        AgreementShare,
        Parameter(
            group=LIMITS,
            help="Share of labels that bf16 and int8 must have in common with fp32 on 1000 pairs; 0.99:4000 "
            "compares 4000, `off` none.",
        ),
    ] = "0.99"
    retry_quarantined: Annotated[
        bool,
        Parameter(group=LIMITS, help="Try the units again that an earlier start could not read or label."),
    ] = False

    @property
    def least_agreement(self) -> float:
        """The share of labels that must be those of fp32."""
        return agreement_asked(self.min_agreement)[0]

    @property
    def agreement_pairs(self) -> int:
        """The number of pairs that are labelled in fp32 too; 0 for none."""
        return agreement_asked(self.min_agreement)[1]


class GoldGate(GoldLabels):
    """Pairs with gold labels that a checkpoint must label well before it labels the others."""

    gold: Annotated[
        Place | None,
        Parameter(
            group=LIMITS,
            help="Pairs with gold labels that are labelled first: Parquet whose texts are called as those of --input.",
        ),
    ] = None
    gold_column: Annotated[
        GoldColumn, Parameter(group=LIMITS, help="The gold labels' column in --gold."), Mark.RARE
    ] = "gold_label"
    min_accuracy: Annotated[
        Share | None,
        Parameter(
            group=LIMITS, help="Share of the labels of --gold that must be the gold ones; below it nothing is labelled."
        ),
    ] = None

    @model_validator(mode="after")
    def _accuracy_is_of_a_gold_set(self) -> Self:
        if self.min_accuracy is not None and self.gold is None:
            raise ValueError("min_accuracy: there is no gold set to measure it on; name one with --gold")
        return self


# The settings of the last base come first in the help, because pydantic puts its fields first.
class LabellingSettings(Job, GoldGate, Limits, Resources, Classifying, PinnedCheckpoint, S3Rules, InputColumns):
    """How pairs are labelled, wherever they come from."""

    after_interrupt: ClassVar[str] = "run the same command again: it goes on from what is finished"

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        names = [self.premise_column, self.hypothesis_column, *([self.id_column] if self.id_column else [])]
        if len(set(names)) < len(names):
            raise ValueError("premise_column, hypothesis_column and id_column must be three different columns")
        if (clash := schema.same_name(self.carry, self.reserved_names)) is not None:
            raise ValueError(f"carry: `{clash}` is the name of a column of ours; rename it in the input")
        return self

    @property
    def reserved_names(self) -> frozenset[str]:
        """What a carried column must not be called: the names of our columns in this run."""
        added = {schema.NEEDS_REVIEW: self.review_below is not None, schema.N_WINDOWS: self.long_premise == "window"}
        return schema.RESERVED_NAMES | {name for name, is_ours in added.items() if is_ours}


class LabelSettings(LabellingSettings, PairPlaces):
    """The settings of `albert-infer label` and `jobs/label_pairs.py`."""
