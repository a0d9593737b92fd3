"""The settings of `albert-infer plan` and `jobs/plan_labels.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field

from albert_infer.config.groups import REPORT, SPEED
from albert_infer.config.settings import LabellingSettings, LabelSettings, PairLocations
from albert_infer.config.shared import SettingsPart
from albert_infer.config.values import Count

# `cpu-…` is a processor with these instructions; every other name is one card, by Ray's name for it in lower case.
Card = Literal["cpu-avx2", "cpu-avx512-bf16", "t4", "l4", "a10g", "h100", "h200"]


class PlanChoices(SettingsPart):
    """What a plan assumes of the workers, and how it is shown."""

    card: Annotated[
        Card | None,
        Parameter(
            group=SPEED,
            help="What a worker runs on; by default what earlier runs at this output ran on, else this machine.",
        ),
    ] = None
    price_per_hour: Annotated[
        float | None,
        Field(ge=0),
        Parameter(
            group=SPEED, help="Price of a card for an hour, or of a worker on a CPU, in any currency: adds the cost."
        ),
    ] = None
    # Half a second of tokenizing on two cores.
    sample_rows: Annotated[
        Count, Parameter(group=REPORT, help="Rows to read for the estimates; an input of fewer is read whole.")
    ] = 10_000
    format: Annotated[
        Literal["text", "json"],
        Parameter(group=REPORT, help="`json` prints one JSON object, and no summary line."),
    ] = "text"


class PlanSettings(LabellingSettings, PlanChoices, PairLocations):
    """Every setting of the labelling job, and what a plan assumes."""

    @property
    def label_settings(self) -> LabelSettings:
        """The settings of the run that is planned."""
        names = set(LabelSettings.model_fields) & set(PlanSettings.model_fields)
        return LabelSettings.model_validate(self.model_dump(include=names))
