"""The task of a training worker.

Ray Train's controller loads this module before it starts the workers. So it imports neither torch nor transformers,
which take seconds to load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import ray

from albert_infer.config import FinetuneSettings
from albert_infer.learning.training.board import TrainingBoard
from albert_infer.model.checkpoint_files import CheckpointFiles
from albert_infer.schema import Precision

# The names of the two datasets of a run.
TRAIN: Final = "train"
EVAL: Final = "eval"


@dataclass(frozen=True)
class TrainTask:
    """The task of a run, the same for every worker."""

    settings: FinetuneSettings
    start: ray.ObjectRef[CheckpointFiles]
    teacher: ray.ObjectRef[CheckpointFiles] | None
    precision: Precision
    threads: int | None
    board: TrainingBoard
