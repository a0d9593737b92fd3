"""The arguments of `Labeler` have the bounds of the job's settings, and a wrong one is named in one line."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from albert_infer import Labeler
from albert_infer.config import LabelSettings
from albert_infer.errors import ModelError, SettingsError
from albert_infer.prepare import arguments
from albert_infer.schema import NliLabel

# What job and `Labeler` refuse, and what both take.
REFUSED: list[tuple[str, Any]] = [
    ("long_premise", "only_first"),
    ("long_premise", ["truncate"]),
    ("precision", "fp4"),
    *[("max_length", value) for value in (0, -5, 4, 100.5, "many", [128])],
    *[("max_batch_tokens", value) for value in (0, -1, 0.5)],
    *[("review_below", value) for value in (70, -0.1, float("nan"), float("inf"), "half")],
    ("label_order", [0, 1, 2]),
    ("label_order", 3),
    ("label_order", "entailment,neutral"),
    ("label_order", ["entailment", "neutral", "neutral"]),
    ("label_order", "entailment,neutral,maybe"),
]
TAKEN: list[tuple[str, Any]] = [
    ("long_premise", "longest_first"),
    ("long_premise", "window"),
    ("precision", "int8"),
    ("max_length", 5),
    ("max_batch_tokens", 1),
    *[("review_below", value) for value in (0, 1, 0.5)],
    ("label_order", "entailment,contradiction,neutral"),
    ("label_order", ["entailment", "contradiction", "neutral"]),
    ("label_order", ()),
]
NOWHERE = Path("/nowhere/checkpoint")


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_the_job_refuses_is_refused_by_the_name_of_the_argument(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        LabelSettings(input="a", output="b", **{name: value})
    with pytest.raises(SettingsError) as refused:
        Labeler(NOWHERE, **{name: value})
    assert refused.value.asked == f"{name}={value!r}"
    assert refused.value.remedy.startswith("give ")


@pytest.mark.parametrize(("name", "value"), TAKEN)
def test_what_the_job_takes_is_taken(name: str, value: Any) -> None:
    LabelSettings(input="a", output="b", **{name: value})
    # Only the checkpoint is missed, which is looked for once the arguments are right.
    with pytest.raises(ModelError):
        Labeler(NOWHERE, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", 3),
        ("source", None),
        ("source", b"folder"),
        ("max_length", "128"),
        ("max_length", True),
        ("max_batch_tokens", "512"),
        ("review_below", "0.5"),
        ("review_below", Decimal("0.5")),
        ("review_below", True),
        ("device", ["cpu"]),
        ("precision", None),
        # Its order is not that of its writer.
        ("label_order", {*NliLabel}),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_the_argument(name: str, value: Any) -> None:
    with pytest.raises(SettingsError) as refused:
        Labeler(**{"source": NOWHERE, name: value})
    assert refused.value.asked == f"{name}={value!r:.50}"


def test_a_path_is_taken_as_its_text_is() -> None:
    assert arguments.location("source", NOWHERE) == str(NOWHERE)
    assert arguments.location("source", "name@revision") == "name@revision"
    with pytest.raises(ModelError, match=os.fspath(NOWHERE)):
        Labeler(NOWHERE)


def test_the_numbers_of_numpy_are_numbers() -> None:
    arguments.whole_number("max_length", np.int64(128), least=5)
    arguments.share("review_below", np.float32(0.5))


def test_labels_with_commas_between_them_are_an_order() -> None:
    order = ("entailment", "contradiction", "neutral")
    assert arguments.label_order("label_order", "entailment, contradiction,neutral") == order
    assert arguments.label_order("label_order", [NliLabel(name) for name in order]) == order
