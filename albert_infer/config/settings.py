"""The settings of `albert-infer label` and `jobs/label_pairs.py`, and those that nights share."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Self

from cyclopts import Parameter
from pydantic import Field, field_validator, model_validator

from albert_infer import schema
from albert_infer.config.drift import DriftGate, References
from albert_infer.config.expansion import ManyQuestions
from albert_infer.config.gold import GoldGate
from albert_infer.config.groups import DATA, LIMITS, MODEL, NO_FLAGS, SPEED, Mark
from albert_infer.config.shared import (
    AllowCpu,
    CheckpointChoice,
    Classifying,
    Input,
    Job,
    Output,
    OutputOwner,
    Replace,
    S3Server,
    SettingsPart,
    TextColumns,
    Workers,
)
from albert_infer.config.values import AgreementShare, AwsAccount, Count, Names, Share, agreement_limits


class PairLocations(SettingsPart):
    """Where one run reads its pairs and writes its labels."""

    input: Annotated[
        Input,
        Parameter(help="Parquet pairs: a folder (at any depth) or one file; local path, file:// or s3://."),
    ]
    output: Annotated[
        Output,
        Parameter(help="Folder for the labelled Parquet; it must not lie inside the input, or contain it."),
    ]
    replace: Annotated[
        Replace, Parameter(help="Replace the run that is published at the output; units of both are reused.")
    ] = False


class InputColumns(TextColumns):
    """Which columns of the input are read and copied."""

    id_column: Annotated[
        str | None,
        Parameter(group=DATA, help="Column of the pair's id, or `none`; default: `pair_id`, if the input has it."),
    ] = None
    carry: Annotated[
        Names,
        Parameter(group=DATA, help="Input columns to copy to the output, as `a,b`, or `all`."),
    ] = ()
    carry_source: Annotated[
        bool, Parameter(group=DATA, help="Add `source_file` and `source_row`, which name the input row.")
    ] = False
    ignore_table_format: Annotated[
        bool,
        Parameter(
            group=DATA,
            help="Read every file of a Delta, Iceberg or Hudi table, with rows that the table has deleted.",
        ),
        Mark.RARE,
    ] = False

    @field_validator("carry")
    @classmethod
    def _carried_columns_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("expected each column once")
        if "all" in value and len(value) > 1:
            raise ValueError("`all` means every column of the input; give `all` or the names of columns")
        if (alike := schema.names_alike(value)) is not None:
            raise ValueError(f"`{alike[0]}` and `{alike[1]}` differ only in case, which many readers ignore")
        return value


class S3Rules(S3Server, OutputOwner):
    """Options of requests to S3. They have no flags, because every run of a deployment has the same ones."""

    s3_kms_key: Annotated[
        str | None,
        Field(min_length=1),
        Parameter(
            group=NO_FLAGS, help="KMS key (id or ARN) with which S3 encrypts the output; default: the bucket's key."
        ),
        Mark.NO_FLAG,
    ] = None
    s3_request_payer: Annotated[
        bool,
        Parameter(group=NO_FLAGS, help="Pay for reads from a requester-pays input bucket."),
        Mark.NO_FLAG,
    ] = False
    input_bucket_owner: Annotated[
        AwsAccount | None,
        Parameter(group=NO_FLAGS, help="AWS account that must own the input bucket; buckets of others are refused."),
        Mark.NO_FLAG,
    ] = None


class PinnedCheckpoint(CheckpointChoice):
    """Which checkpoint labels, and which digest it must have."""

    model_digest: Annotated[
        str | None,
        Parameter(group=MODEL, help="Digest that the checkpoint must have: `model.digest` of a report that you trust."),
        Mark.RARE,
    ] = None

    @field_validator("model_digest")
    @classmethod
    def _model_digest_is_a_sha256(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value.lower()):
            raise ValueError("expected 64 hexadecimal digits")
        return value and value.lower()


class Resources(SettingsPart):
    """The number of classify actors, the resources of each, and the rows per commit."""

    workers: Annotated[
        Workers,
        Parameter(help="Classify actors, N or MIN:MAX; default: one per GPU, or as many as fit the CPUs."),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        Field(ge=0),
        Parameter(group=SPEED, help="GPUs per actor, 0 to 1; default: 1 if there are GPUs. 0 forces the CPU."),
        Mark.RARE,
    ] = None
    # No default: only the operator knows whether the cluster starts GPUs. A run on CPUs must not wait for them.
    gpu_wait_minutes: Annotated[
        float | None,
        Field(gt=0),
        Parameter(
            group=SPEED,
            help="Minutes to wait for the first GPU of a cluster that starts GPUs on demand, before the run fails.",
        ),
        Mark.RARE,
    ] = None
    allow_cpu: Annotated[
        AllowCpu,
        Parameter(
            help="Label on the CPU where torch cannot use a GPU of the cluster, instead of ending with exit code 4."
        ),
    ] = False
    cpus_per_worker: Annotated[
        int | None,
        Field(ge=0),
        Parameter(group=SPEED, help="Logical CPUs per actor on a machine without GPUs; sets its torch threads too."),
        Mark.RARE,
    ] = None
    # 16,384 rows are seconds of GPU time and about 4 MB of Parquet: small enough to lose, large enough to be a file.
    unit_rows: Annotated[
        Count,
        Parameter(
            group=SPEED,
            help="Rows per unit, or pairs where a row is several pairs; a unit is one commit and one file.",
        ),
        Mark.RARE,
    ] = 16_384

    @field_validator("gpus_per_worker")
    @classmethod
    def _an_actor_has_at_most_one_gpu(cls, value: float | None) -> float | None:
        if value is not None and value > 1:
            raise ValueError("an actor computes on one GPU: give 1, or a part of one as 0.5; --workers takes more GPUs")
        return value

    @model_validator(mode="after")
    def _gpus_are_waited_for_only_if_taken(self) -> Self:
        if self.gpu_wait_minutes is not None and self.gpus_per_worker == 0:
            raise ValueError("gpu_wait_minutes: with gpus_per_worker=0 the run takes no GPU, so do not wait for one")
        return self

    @property
    def worker_range(self) -> tuple[int, int] | None:
        """The minimum and maximum number of classify actors; None to follow the cluster."""
        if self.workers is None:
            return None
        low, _, high = self.workers.partition(":")
        return int(low), int(high or low)


class Limits(SettingsPart):
    """The limits of a run. Beyond one of them nothing is published."""

    max_bad_files: Annotated[
        int,
        Field(ge=0),
        Parameter(group=LIMITS, help="Unreadable input files to accept; with more, nothing is published."),
    ] = 0
    max_rows: Annotated[
        Count | None,
        Parameter(group=LIMITS, help="Input rows to accept; with more, nothing is labelled. Caps the cost of a run."),
    ] = None
    max_rejected_share: Annotated[
        Share,
        Parameter(group=LIMITS, help="Share of rows without a label to accept; with more, nothing is published."),
    ] = 0.05
    require_probe: Annotated[
        bool,
        Parameter(
            group=LIMITS,
            help="Refuse a checkpoint unless 30 easy English pairs confirm its label order.",
        ),
        Mark.RARE,
    ] = False
    min_agreement: Annotated[
        AgreementShare,
        Parameter(
            group=LIMITS,
            help="Minimum share of labels in bf16 or int8 that are the same in fp32, on 1000 pairs; "
            "0.99:4000 compares 4000 pairs, `off` none.",
        ),
        Mark.RARE,
    ] = "0.99"
    retry_quarantined: Annotated[
        bool,
        Parameter(group=LIMITS, help="Retry the units that an earlier start could not read or label."),
        Mark.RARE,
    ] = False

    @property
    def least_agreement(self) -> float:
        """The share of labels that must be the same as in fp32."""
        return agreement_limits(self.min_agreement)[0]

    @property
    def agreement_pairs(self) -> int:
        """The number of pairs that are also labelled in fp32; 0 without this check."""
        return agreement_limits(self.min_agreement)[1]


# The settings of the last base come first in the help, because pydantic puts its fields first.
class LabellingSettings(
    Job, GoldGate, DriftGate, Limits, Resources, Classifying, PinnedCheckpoint, S3Rules, ManyQuestions, InputColumns
):
    """How pairs are labelled: the settings of runs and of nights."""

    after_interrupt: ClassVar[str] = "run the same command again: it resumes from the finished units"

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        columns = {name: getattr(self, name) for name in ("premise_column", "hypothesis_column", "id_column")}
        # A gold set has pairs, so it has a column of hypotheses.
        if self.has_set and self.gold is None:
            del columns["hypothesis_column"]
        names = [name for name in columns.values() if name]
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(columns)} must be different columns")
        if self.carry != ("all",) and (lost := sorted(set(self.drift_columns) - set(self.carry))):
            raise ValueError(f"drift_columns: `{lost[0]}` is not carried; name it with --carry too")
        if (clash := schema.same_name(self.carry, self.reserved_names)) is not None:
            raise ValueError(f"carry: `{clash}` is the name of an output column; rename it in the input")
        return self

    @model_validator(mode="after")
    def _questions_fit(self) -> Self:
        if self.has_set and self.gold is None and self.hypothesis_column != schema.HYPOTHESIS:
            why = "the hypotheses are those of the set, and no column of the input is read for them"
            raise ValueError(f"hypothesis_column: {why}; leave out --hypothesis-column")
        if self.review_below is not None and self.fold_rule is schema.FoldRule.SUMMAC_ZS:
            raise ValueError("review_below: summac_zs gives a score, and no label to review; leave out --review-below")
        return self

    @property
    def reserved_names(self) -> frozenset[str]:
        """The names of the output's own columns in this run. A carried column must have another name."""
        added = {schema.NEEDS_REVIEW: self.review_below is not None, schema.N_WINDOWS: self.long_premise == "window"}
        return schema.RESERVED_NAMES | self.expansion_names | {name for name, is_added in added.items() if is_added}


class LabelSettings(References, LabellingSettings, PairLocations):
    """The settings of `albert-infer label` and `jobs/label_pairs.py`."""

    # How to publish over the run of another plan, for a message.
    to_replace: ClassVar[str] = "give another --output, or --replace to publish over it"

    dry_run: Annotated[
        bool,
        Parameter(group=LIMITS, help="Show what the run will take, as `albert-infer plan` does, and write nothing."),
        Mark.RARE,
    ] = False
