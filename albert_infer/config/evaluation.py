"""The settings of `jobs/evaluate.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from albert_infer import schema
from albert_infer.config.settings import DATA, MODEL, SPEED, Debug, LogFormatSetting, PrecisionSetting, S3Endpoint
from albert_infer.config.values import LabelOrder, Location, Names, OutputFolder

REPORT = Group("What is told", sort_key=3)


@Parameter(name="*", negative="", show_env_var=False)
class EvaluateSettings(BaseModel):
    """What is evaluated: a published run, or a checkpoint on pairs; against what; and where the page goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Annotated[
        OutputFolder,
        Parameter(group=DATA, help="Folder for evaluation.json and evaluation.html; an older pair is replaced."),
    ]
    run: Annotated[
        Location | None,
        Parameter(group=DATA, help="A published run that carried its gold labels: local path, file:// or s3://."),
    ] = None
    other_run: Annotated[
        Location | None,
        Parameter(group=DATA, help="A second run of the same input: how many labels agree, and which became which."),
    ] = None
    pairs: Annotated[
        Location | None,
        Parameter(group=DATA, help="Parquet pairs with gold labels, to be labelled here by --model; instead of --run."),
    ] = None
    gold_column: Annotated[
        str, Parameter(group=DATA, help="The column of gold labels: their names, or 0, 1, 2; - or -1 for none.")
    ] = "gold_label"
    premise_column: Annotated[
        str, Parameter(group=DATA, help="The premise's column, if --pairs calls it otherwise.")
    ] = schema.PREMISE
    hypothesis_column: Annotated[
        str, Parameter(group=DATA, help="The hypothesis's column, if --pairs calls it otherwise.")
    ] = schema.HYPOTHESIS
    s3_endpoint: S3Endpoint = None

    model: Annotated[
        str,
        Parameter(
            group=MODEL, help="What labels --pairs: `builtin`, a checkpoint folder, or a hub id `name@revision`."
        ),
    ] = "builtin"
    other_model: Annotated[
        str | None, Parameter(group=MODEL, help="A second checkpoint on the same pairs: agreement, and what changed.")
    ] = None
    label_order: Annotated[
        LabelOrder, Parameter(group=MODEL, help="The labels of outputs 0, 1, 2 of --model, whatever it calls them.")
    ] = ()
    other_label_order: Annotated[LabelOrder, Parameter(group=MODEL, help="The same for --other-model.")] = ()
    truncation: Annotated[
        Literal["premise", "longest_first"],
        Parameter(group=MODEL, help="What a pair that is too long loses; `premise` never cuts the hypothesis."),
    ] = "premise"
    max_length: Annotated[
        int | None,
        Field(ge=5),
        Parameter(group=MODEL, help="Tokens a pair may have; the checkpoint's max_position_embeddings if not given."),
    ] = None
    precision: Annotated[
        PrecisionSetting,
        Parameter(group=MODEL, help="`auto` is what the labelling job takes here; int8 is for CPUs."),
    ] = "auto"
    fit_temperature: Annotated[
        OutputFolder | None,
        Parameter(group=MODEL, help="New folder for a copy of --model whose probabilities are calibrated on --pairs."),
    ] = None

    slices: Annotated[
        Names, Parameter(group=REPORT, help="Carried columns, as `genre,source`: figures for each of their values too.")
    ] = ()
    review_below: Annotated[
        float | None,
        Field(gt=0, le=1),
        Parameter(
            group=REPORT, help="Tell apart rows whose label is less probable than this: a person would review them."
        ),
    ] = None
    no_texts: Annotated[
        bool, Parameter(group=REPORT, help="Leave texts out of page and JSON: the most confident errors show places.")
    ] = False

    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Parameter(group=SPEED, help="Where --pairs are labelled: a GPU if there is one."),
    ] = "auto"
    threads: Annotated[
        int | None, Field(ge=1), Parameter(group=SPEED, help="Forward passes at once on a CPU; by default one a core.")
    ] = None
    max_batch_tokens: Annotated[
        int | None,
        Field(ge=1),
        Parameter(group=SPEED, help="Tokens a forward pass may have; lower it if the device runs out of memory."),
    ] = None
    log_format: LogFormatSetting = "text"
    debug: Debug = False

    @field_validator("slices")
    @classmethod
    def _slices_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("expected each column once")
        return value

    @model_validator(mode="after")
    def _one_subject(self) -> EvaluateSettings:
        if (self.run is None) == (self.pairs is None):
            raise ValueError("give either --run, a published run, or --pairs, which --model labels")
        for name, needed in (
            ("other_run", "run"),
            ("other_model", "pairs"),
            ("fit_temperature", "pairs"),
            ("other_label_order", "other_model"),
        ):
            if getattr(self, name) and getattr(self, needed) is None:
                told, missing = (f"--{flag.replace('_', '-')}" for flag in (name, needed))
                raise ValueError(f"{told} needs {missing}")
        if self.device == "cuda" and self.precision == "int8":
            raise ValueError("int8 is for CPUs: give --precision bf16, or --device cpu")
        return self
