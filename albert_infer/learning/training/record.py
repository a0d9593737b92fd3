"""What a training run says of itself: in the state that it goes on from, and in `metrics.json`.

Plain JSON: torch's state, Ray Train and the file hold it as it is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class Milestone(TypedDict):
    """A point of the training curve: after `step` steps, the mean loss since the last one, and the eval set."""

    step: int
    epoch: float
    train_loss: float
    eval_loss: float
    eval_accuracy: float
    seconds: float


class SavedCurve(TypedDict):
    """The milestones so far, and the places of the best one and of the one whose weights are kept."""

    milestones: list[Milestone]
    best: int
    kept: int


class CountedPairs(TypedDict):
    """What became of the rows of a gold set: `rows = used + without_gold + rejected`, the last by reason."""

    rows: int
    used: int
    without_gold: int
    truncated: int
    rejected: dict[str, int]


class Metrics(TypedDict):
    """`metrics.json`."""

    run_id: str
    kept: Milestone
    milestones: list[Milestone]
    # By set: train, eval.
    pairs: dict[str, CountedPairs]
    new_classifier: bool
    # The settings as JSON, whose types are those of `FinetuneSettings`.
    settings: Mapping[str, Any]
    model_digests: dict[str, str]
    teacher_digests: dict[str, str] | None
    workers: Mapping[str, object]
    precision: str
    versions: dict[str, str]
    # The most tokens of a pair.
    max_length: int
    # Of the start that wrote the checkpoint.
    seconds: NotRequired[float]
