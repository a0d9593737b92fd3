"""The settings of `albert-infer evaluate` and `jobs/evaluate.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import BaseModel, field_validator, model_validator

from albert_infer.config.groups import DATA, MODEL, REPORT, SPEED, Mark, flag_of
from albert_infer.config.shared import (
    CheckpointChoice,
    Classifying,
    GoldLabels,
    Job,
    Output,
    ReviewBelow,
    S3Server,
    TextColumns,
)
from albert_infer.config.values import Count, LabelOrder, Location, Names, OutputFolder


class EvaluatedPlaces(BaseModel):
    """What is evaluated, and where the page goes."""

    output: Annotated[
        Output,
        Parameter(help="Folder for evaluation.json and evaluation.html; an older pair is replaced."),
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


class EvaluateSettings(Job, Classifying, CheckpointChoice, S3Server, TextColumns, GoldLabels, EvaluatedPlaces):
    """What is evaluated: a published run, or a checkpoint on pairs; against what; and where the page goes."""

    other_model: Annotated[
        str | None, Parameter(group=MODEL, help="A second checkpoint on the same pairs: agreement, and what changed.")
    ] = None
    other_label_order: Annotated[
        LabelOrder, Parameter(group=MODEL, help="As --label-order, for --other-model."), Mark.RARE
    ] = ()
    fit_temperature: Annotated[
        OutputFolder | None,
        Parameter(group=MODEL, help="New folder for a copy of --model whose probabilities are calibrated on --pairs."),
    ] = None

    slices: Annotated[
        Names, Parameter(group=REPORT, help="Carried columns, as `genre,source`: figures for each of their values too.")
    ] = ()
    review_below: Annotated[
        ReviewBelow,
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
        Count | None,
        Parameter(group=SPEED, help="Forward passes at once on a CPU; by default one a core."),
        Mark.RARE,
    ] = None

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
                told, missing = (flag_of(setting) for setting in (name, needed))
                raise ValueError(f"{told} needs {missing}")
        if self.device == "cuda" and self.precision == "int8":
            raise ValueError("int8 is for CPUs: give --precision bf16, or --device cpu")
        return self
