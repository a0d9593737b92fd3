"""The types of a training run's records, in its saved state and in `metrics.json`.

They are plain JSON. The saved state, Ray Train and the file have the same form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class Milestone(TypedDict):
    """A point of the training curve after `step` steps: the mean loss since the last point, and the eval figures."""

    step: int
    epoch: float
    train_loss: float
    eval_loss: float
    eval_accuracy: float
    seconds: float


class SavedCurve(TypedDict):
    """The milestones so far, and the indices of the best one and of the one whose weights are kept."""

    milestones: list[Milestone]
    best: int
    kept: int


class CountedPairs(TypedDict):
    """The rows of a gold set: `rows = used + without_gold + rejected`. `rejected` counts by reason."""

    rows: int
    used: int
    without_gold: int
    truncated: int
    rejected: dict[str, int]


class Metrics(TypedDict):
    """The contents of `metrics.json`."""

    run_id: str
    kept: Milestone
    milestones: list[Milestone]
    # Keys: train, eval.
    pairs: dict[str, CountedPairs]
    new_classifier: bool
    # The settings as JSON, whose types are those of `FinetuneSettings`.
    settings: Mapping[str, Any]
    model_digests: dict[str, str]
    teacher_digests: dict[str, str] | None
    workers: Mapping[str, object]
    precision: str
    versions: dict[str, str]
    # The maximum number of tokens per pair.
    max_length: int
    # The duration of the start that wrote the checkpoint.
    seconds: NotRequired[float]
