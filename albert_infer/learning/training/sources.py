"""What a fine-tuning starts from: the pairs, the model to train and its teacher, read and verified; and the run's name.

The name follows from all that decides the weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from albert_infer.config import FinetuneSettings
from albert_infer.errors import ModelError
from albert_infer.learning.training.start import files_of, starting_model
from albert_infer.learning.training.worker import EVAL, TRAIN
from albert_infer.model.checkpoint import verified
from albert_infer.model.checkpoint_files import CheckpointFiles, checkpoint_files
from albert_infer.model.known_files import SENTENCEPIECE, TOKENIZER_JSON
from albert_infer.preflight.gold import GoldColumns, GoldSet, survey_gold
from albert_infer.read.planning import canonical_json
from albert_infer.storage import S3Access

# Raised when a change of the code makes other weights of the same settings.
TRAINING_VERSION: Final = 1
# These decide no weight, or no more than rounding does.
NOT_IN_THE_ID: Final = (
    *("train", "eval", "output", "model", "teacher", "s3_endpoint", "workers", "replace", "log_format", "debug"),
)


@dataclass(frozen=True)
class Sources:
    """What a run starts from, read and verified: pairs, the model to train and the teacher's, if there is one."""

    train: GoldSet
    eval: GoldSet
    given: CheckpointFiles
    start: CheckpointFiles
    new_classifier: bool
    teacher: CheckpointFiles | None


def read_sources(settings: FinetuneSettings, access: S3Access) -> Sources:
    """What these settings name. Raises AlbertInferError."""
    columns = GoldColumns(settings.gold_column, settings.premise_column, settings.hypothesis_column)
    train = survey_gold("--train", settings.train, columns, access)
    held = survey_gold("--eval", settings.eval, columns, access)
    given = checkpoint_files(settings.model, access)
    start = starting_model(given, dropout=settings.dropout, seed=settings.seed, label_order=settings.label_order)
    files = files_of(start.model, settings.model, given.tokenizer)
    verified(files)
    teacher = None if settings.teacher is None else checkpoint_files(settings.teacher, access)
    if teacher is not None:
        verified(teacher)
        _refuse_other_tokenizer(given, teacher)
    return Sources(train, held, given, files, start.new_classifier, teacher)


def _refuse_other_tokenizer(start: CheckpointFiles, teacher: CheckpointFiles) -> None:
    ours, theirs = (each.digests.get(TOKENIZER_JSON, each.digests.get(SENTENCEPIECE)) for each in (start, teacher))
    if ours != theirs:
        asked = f"--teacher {teacher.source} for --model {start.source}"
        remedy = "give a teacher with the model's own tokenizer, or a model that starts from the teacher's"
        raise ModelError(asked, "their tokenizers are not the same bytes", remedy)


def run_id_of(settings: FinetuneSettings, sources: Sources) -> str:
    """Names a run by what decides its weights, so that what is there already, or half-way, is known again."""
    decides = {
        "version": TRAINING_VERSION,
        "settings": settings.model_dump(mode="json", exclude=set(NOT_IN_THE_ID)),
        "train": sources.train.pins,
        "eval": sources.eval.pins,
        "model": sources.given.digests,
        "teacher": sources.teacher and sources.teacher.digests,
        **_classes(sources),
    }
    return hashlib.sha256(canonical_json(decides)).hexdigest()[:16]


def _classes(sources: Sources) -> dict[str, object]:
    """What the files call the numbers of their labels, where they do: runs without such names keep their ids."""
    classes = {TRAIN: sources.train.classes, EVAL: sources.eval.classes}
    return {"classes": classes} if any(any(names) for names in classes.values()) else {}
