"""The settings of `albert-infer evaluate` and `jobs/evaluate.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import field_validator, model_validator

from albert_infer.config.groups import DATA, MODEL, REPORT, SPEED, Mark, flag_of
from albert_infer.config.shared import (
    CheckpointChoice,
    Classifying,
    GoldLabels,
    Job,
    Output,
    ReviewBelow,
    S3Server,
    SettingsPart,
    TextColumns,
)
from albert_infer.config.values import Count, LabelOrder, Location, Names, OutputFolder


class EvaluationLocations(SettingsPart):
    """What is evaluated, and where the page is written."""

    output: Annotated[
        Output,
        Parameter(help="Folder for evaluation.json and evaluation.html; older ones are replaced."),
    ]
    run: Annotated[
        Location | None,
        Parameter(group=DATA, help="A published run that carried its gold labels: local path, file:// or s3://."),
    ] = None
    other_run: Annotated[
        Location | None,
        Parameter(group=DATA, help="A second run of the same input: compares the labels of both."),
    ] = None
    pairs: Annotated[
        Location | None,
        Parameter(
            group=DATA, help="Parquet pairs with gold labels, instead of --run; --model labels them in this process."
        ),
    ] = None


class EvaluateSettings(Job, Classifying, CheckpointChoice, S3Server, TextColumns, GoldLabels, EvaluationLocations):
    """What to evaluate (a published run, or a checkpoint on pairs), what to compare, and where to write the page."""

    other_model: Annotated[
        str | None, Parameter(group=MODEL, help="A second checkpoint for the same pairs: compares the labels of both.")
    ] = None
    other_label_order: Annotated[
        LabelOrder, Parameter(group=MODEL, help="As --label-order, for --other-model."), Mark.RARE
    ] = ()
    fit_temperature: Annotated[
        OutputFolder | None,
        Parameter(group=MODEL, help="New folder for a copy of --model whose temperature is fitted on --pairs."),
    ] = None

    slices: Annotated[
        Names,
        Parameter(group=REPORT, help="Carried columns, as `genre,source`: adds figures for each of their values."),
    ] = ()
    review_below: Annotated[
        ReviewBelow,
        Parameter(
            group=REPORT,
            help="Add figures for the rows that people would review: the label's probability is below this.",
        ),
    ] = None
    no_texts: Annotated[
        bool, Parameter(group=REPORT, help="Leave texts out of page and JSON; errors show file and row only.")
    ] = False

    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Parameter(group=SPEED, help="Device that labels --pairs; `auto` is a GPU if there is one."),
    ] = "auto"
    threads: Annotated[
        Count | None,
        Parameter(group=SPEED, help="Concurrent forward passes on a CPU; default: one per core."),
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
            raise ValueError("give either --run (a published run) or --pairs (pairs for --model to label)")
        for name, needed in (
            ("other_run", "run"),
            ("other_model", "pairs"),
            ("fit_temperature", "pairs"),
            ("other_label_order", "other_model"),
        ):
            if getattr(self, name) and getattr(self, needed) is None:
                raise ValueError(f"{flag_of(name)} needs {flag_of(needed)}")
        if self.device == "cuda" and self.precision == "int8":
            raise ValueError("int8 is for CPUs: give --precision bf16, or --device cpu")
        return self
