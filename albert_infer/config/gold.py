"""The settings of the gold set that a checkpoint is checked on before a run."""

from __future__ import annotations

from typing import Annotated, Self

from cyclopts import Parameter
from pydantic import model_validator

from albert_infer.config.groups import LIMITS, Mark
from albert_infer.config.shared import GoldColumn, GoldLabels
from albert_infer.config.values import AnyLocation, Share


class GoldGate(GoldLabels):
    """Pairs with gold labels on which the checkpoint is checked before the run labels anything."""

    gold: Annotated[
        AnyLocation | None,
        Parameter(
            group=LIMITS,
            help="Parquet pairs with gold labels to label first; text columns have the same names as in --input.",
        ),
    ] = None
    gold_column: Annotated[GoldColumn, Parameter(group=LIMITS, help="Column of gold labels in --gold."), Mark.RARE] = (
        "gold_label"
    )
    min_accuracy: Annotated[
        Share | None,
        Parameter(
            group=LIMITS, help="Accuracy that the checkpoint must reach on --gold; below it nothing is labelled."
        ),
    ] = None

    @model_validator(mode="after")
    def _accuracy_is_of_a_gold_set(self) -> Self:
        if self.min_accuracy is not None and self.gold is None:
            raise ValueError("min_accuracy: it needs a gold set; name one with --gold")
        return self
