"""Reads and verifies the sources of a training: pairs, model and teacher. Computes the run id.

The run id is a hash of everything that decides the weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from albert_infer.config import FinetuneSettings
from albert_infer.errors import ModelError
from albert_infer.learning.training.start import files_of, starting_model
from albert_infer.learning.training.task import EVAL, TRAIN
from albert_infer.model.checkpoint import verified
from albert_infer.model.checkpoint_files import CheckpointFiles, checkpoint_files
from albert_infer.model.known_files import SENTENCEPIECE, TOKENIZER_JSON
from albert_infer.preflight.gold import GoldColumns, GoldSet, survey_gold
from albert_infer.read.planning import canonical_json
from albert_infer.schema import THREE_LABELS
from albert_infer.storage import S3Access

# Increased when a change of the code gives other weights for the same settings.
TRAINING_VERSION: Final = 1
# These settings do not change the weights, except by rounding.
NOT_IN_THE_ID: Final = (
    *("train", "eval", "output", "model", "teacher", "s3_endpoint", "workers", "replace", "log_format", "debug"),
)


@dataclass(frozen=True)
class Sources:
    """The verified sources of a run. `model_files` are those of --model; `start` is the model to train."""

    train: GoldSet
    eval: GoldSet
    model_files: CheckpointFiles
    start: CheckpointFiles
    new_classifier: bool
    teacher: CheckpointFiles | None


def read_sources(settings: FinetuneSettings, access: S3Access) -> Sources:
    """Read and verify the sources in the settings. Raises AlbertInferError."""
    columns = GoldColumns(settings.gold_column, settings.premise_column, settings.hypothesis_column)
    train = survey_gold("--train", settings.train, columns, access)
    eval_pairs = survey_gold("--eval", settings.eval, columns, access)
    model_files = checkpoint_files(settings.model, access)
    start = starting_model(model_files, dropout=settings.dropout, seed=settings.seed, label_order=settings.label_order)
    files = files_of(start.model, settings.model, model_files.tokenizer)
    verified(files)
    teacher = None if settings.teacher is None else checkpoint_files(settings.teacher, access)
    if teacher is not None:
        if verified(teacher).labels != THREE_LABELS:
            problem = "it has two labels, and a training has the three labels of NLI"
            raise ModelError(f"--teacher {teacher.source}", problem, "give a teacher with three labels")
        _refuse_other_tokenizer(model_files, teacher)
    return Sources(train, eval_pairs, model_files, files, start.new_classifier, teacher)


def _refuse_other_tokenizer(start: CheckpointFiles, teacher: CheckpointFiles) -> None:
    ours, theirs = (each.digests.get(TOKENIZER_JSON, each.digests.get(SENTENCEPIECE)) for each in (start, teacher))
    if ours != theirs:
        asked = f"--teacher {teacher.source} for --model {start.source}"
        remedy = "give a teacher with the model's own tokenizer, or a model that starts from the teacher's"
        raise ModelError(asked, "their tokenizers are not the same bytes", remedy)


def run_id_of(settings: FinetuneSettings, sources: Sources) -> str:
    """The id of a run: a hash of everything that decides its weights. It identifies finished and interrupted runs."""
    identity = {
        "version": TRAINING_VERSION,
        "settings": settings.model_dump(mode="json", exclude=set(NOT_IN_THE_ID)),
        "train": sources.train.pins,
        "eval": sources.eval.pins,
        "model": sources.model_files.digests,
        "teacher": sources.teacher and sources.teacher.digests,
        **_classes(sources),
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()[:16]


def _classes(sources: Sources) -> dict[str, object]:
    """The class names of the gold columns; nothing without such names, so that the ids of such runs do not change."""
    classes = {TRAIN: sources.train.classes, EVAL: sources.eval.classes}
    return {"classes": classes} if any(any(names) for names in classes.values()) else {}
