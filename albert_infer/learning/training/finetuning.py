"""Fine-tuning from settings to a checkpoint folder: read the pairs, train on Ray Train, write the kept weights.

`metrics.json` is written last: a folder that has it is whole. Until then `_training/` beside it holds what a killed run
goes on from.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import safetensors.torch
from ray.data import DataContext
from ray.train import CheckpointConfig, DataConfig, FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from albert_infer import storage
from albert_infer.common.extras import refuse_missing
from albert_infer.common.json_input import parsed_json
from albert_infer.common.printable import how_many, reason_of
from albert_infer.config import FinetuneSettings
from albert_infer.engine.processor import cpu_flags
from albert_infer.errors import (
    InfrastructureError,
    InputError,
    IntegrityError,
    LimitError,
    ModelError,
    OutputError,
    SupersededError,
)
from albert_infer.job.report import installed_versions
from albert_infer.learning.training.board import TrainingBoard, shown
from albert_infer.learning.training.card import model_card
from albert_infer.learning.training.learner import KEPT, STATE, told_by
from albert_infer.learning.training.pairs import PairCounts, counted, tokenized
from albert_infer.learning.training.start import files_of, starting_model
from albert_infer.learning.training.summary import summary
from albert_infer.learning.training.worker import EVAL, TRAIN, TrainTask, train_on_worker
from albert_infer.learning.training.workers import TrainingWorkers, training_precision, training_workers
from albert_infer.model import checkpoint as model
from albert_infer.model.checkpoint_files import CheckpointFiles, checkpoint_files
from albert_infer.model.known_files import CONFIG, TOKENIZER_JSON
from albert_infer.pipeline.resources import Node
from albert_infer.pipeline.session import connected, own_error, own_signals, session_settings, shared
from albert_infer.preflight.gold import GoldColumns, GoldSet, survey_gold
from albert_infer.read.planning import canonical_json
from albert_infer.schema import Precision
from albert_infer.storage import Folder, S3Access

METRICS: Final = "metrics.json"
CARD: Final = "README.md"
CURVE: Final = "training_curve.png"
# What a run in progress keeps beside its output; the underscore hides it from readers of the checkpoint.
TRAINING: Final = "_training/"
# One entry for each evaluation of a training.
MAX_METRICS_BYTES: Final = 1 << 24
# Raised when a change of the code makes other weights of the same settings.
TRAINING_VERSION: Final = 1
# A node may go and a process may die; what kills three workers would kill the fourth.
MAX_WORKER_FAILURES: Final = 3
# 99 in 100 pairs of SNLI and MultiNLI are shorter; the few long ones would cost more than they teach.
MAX_TRAINING_TOKENS: Final = 128
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


def finetune(settings: FinetuneSettings) -> dict[str, Any]:
    """Train as `settings` say and write the checkpoint to `settings.output`; what its `metrics.json` says.

    A run that was killed goes on from its last milestone; one that is there already is left as it is. Raises
    AlbertInferError.
    """
    refuse_missing("fine-tuning", "training")
    access = S3Access(settings.s3_endpoint)
    output = storage.open_folder(settings.output, access)
    sources = _sources(settings, access)
    run_id = _run_id(settings, sources)
    with storage.refused(OutputError):
        there = _standing(output, run_id, settings)
    if there is not None:
        return there
    storage.check_writable(output)
    begun = time.monotonic()
    with connected(debug=settings.debug) as nodes:
        made = _trained(settings, sources, output, run_id, nodes)
    made["seconds"] = round(time.monotonic() - begun, 1)
    _write(output, METRICS, json.dumps(made, indent=1).encode())
    _tidy(output)
    return made


def _sources(settings: FinetuneSettings, access: S3Access) -> Sources:
    columns = GoldColumns(settings.gold_column, settings.premise_column, settings.hypothesis_column)
    train = survey_gold("--train", settings.train, columns, access)
    held = survey_gold("--eval", settings.eval, columns, access)
    given = checkpoint_files(settings.model, access)
    start = starting_model(given, dropout=settings.dropout, seed=settings.seed, label_order=settings.label_order)
    files = files_of(start.model, settings.model, given.tokenizer)
    model.verified(files)
    teacher = None if settings.teacher is None else checkpoint_files(settings.teacher, access)
    if teacher is not None:
        model.verified(teacher)
        _refuse_other_tokenizer(given, teacher)
    return Sources(train, held, given, files, start.new_classifier, teacher)


def _refuse_other_tokenizer(start: CheckpointFiles, teacher: CheckpointFiles) -> None:
    ours, theirs = (each.digests.get(TOKENIZER_JSON, each.digests.get("spiece.model")) for each in (start, teacher))
    if ours != theirs:
        asked = f"--teacher {teacher.source} for --model {start.source}"
        remedy = "give a teacher with the model's own tokenizer, or a model that starts from the teacher's"
        raise ModelError(asked, "their tokenizers are not the same bytes", remedy)


def _run_id(settings: FinetuneSettings, sources: Sources) -> str:
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


def _classes(sources: Sources) -> dict[str, Any]:
    """What the files call the numbers of their labels, where they do: runs without such names keep their ids."""
    classes = {TRAIN: sources.train.classes, EVAL: sources.eval.classes}
    return {"classes": classes} if any(any(names) for names in classes.values()) else {}


def _standing(output: Folder, run_id: str, settings: FinetuneSettings) -> dict[str, Any] | None:
    """What stands at the output if it is this run's checkpoint; None if the way is free for it.

    Raises SupersededError for another checkpoint, unless it may be replaced, and IntegrityError for damaged metrics.
    """
    names = {pin.name for pin in output.objects() if not pin.name.startswith(TRAINING)}
    if METRICS in names:
        made = _made(output, run_id)
        if made is not None:
            return made
    begun = bool(output.objects(f"{TRAINING}{run_id}/"))
    if names and not begun and not settings.replace:
        found = f"{'another checkpoint' if CONFIG in names else 'other files'} ({', '.join(sorted(names)[:3])}, …)"
        remedy = "give another --output, or --replace to write over it"
        raise SupersededError(f"write the checkpoint of run {run_id} to {output.uri}", found, remedy)
    return None


def _made(output: Folder, run_id: str) -> dict[str, Any] | None:
    """The metrics of this run's checkpoint; None if those that stand there are another's.

    Raises IntegrityError for what cannot be told.
    """
    try:
        made: dict[str, Any] = parsed_json(output.read(METRICS), max_bytes=MAX_METRICS_BYTES)
        if made.get("run_id") != run_id:
            return None
        summary(made, output.uri)  # the caller makes a text of it too
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        found, remedy = f"it does not tell of a training ({reason_of(error)})", "move it away, or give another --output"
        raise IntegrityError(f"read {output.uri_of(METRICS)}", found, remedy) from error
    return made


def _trained(
    settings: FinetuneSettings, sources: Sources, output: Folder, run_id: str, nodes: list[Node]
) -> dict[str, Any]:
    """Train, and write every file but the last."""
    # Imported here, where it is known that it can be.
    from albert_infer.learning.training.curve import curve_png

    workers = training_workers(settings, nodes)
    precision = training_precision(settings, workers.device, cpu_flags())
    checkpoint = model.verified(sources.start)
    max_length = settings.max_length or min(MAX_TRAINING_TOKENS, checkpoint.shape.max_position_embeddings)
    tokenizer = checkpoint.tokenizer(max_length=max_length, truncation="premise")
    board = TrainingBoard.start()
    with session_settings(), shown(board.so_far):
        DataContext.get_current().execution_options.preserve_order = True
        pairs = {TRAIN: tokenized(sources.train, tokenizer), EVAL: tokenized(sources.eval, tokenizer)}
        counts = {name: counted(dataset) for name, dataset in pairs.items()}
        _refuse_nothing_to_learn(settings, counts)
        task = TrainTask(
            settings=settings,
            start=shared(sources.start),
            teacher=None if sources.teacher is None else shared(sources.teacher),
            precision=precision,
            threads=workers.threads,
            board=board,
        )
        result = _fit(task, pairs, workers, output, run_id)
    kept, told = _outcome(result, run_id)
    made = {**_metrics(settings, sources, run_id, counts, told, workers, precision), "max_length": max_length}
    trained = starting_model(sources.start, dropout=settings.dropout, seed=settings.seed).model
    trained.load_state_dict(kept)
    files = files_of(trained, settings.model, sources.given.tokenizer, settings.save_precision)
    _write(output, CURVE, curve_png(told["milestones"], told["kept"]))
    _write(output, CARD, model_card(made, files.config).encode())
    for name, data in {**files.weights, **files.tokenizer, CONFIG: files.config_json}.items():
        _write(output, name, data)
    return made


def _refuse_nothing_to_learn(settings: FinetuneSettings, counts: dict[str, PairCounts]) -> None:
    for flag, uri, found in (("--train", settings.train, counts[TRAIN]), ("--eval", settings.eval, counts[EVAL])):
        if not found.used:
            told = f"of {how_many(found.rows, 'row')} {found.without_gold:,} without a gold label, the others rejected"
            raise InputError(f"{flag} {uri}", told, "give pairs with gold labels")


def _fit(task: TrainTask, pairs: dict[str, Any], workers: TrainingWorkers, output: Folder, run_id: str) -> Result:
    filesystem, path = output.arrow()
    trainer = TorchTrainer(
        train_on_worker,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=bool(workers.num_gpus),
            resources_per_worker={"CPU": workers.num_cpus, "GPU": workers.num_gpus},
        ),
        run_config=RunConfig(
            name=run_id,
            storage_path=f"{path}/{TRAINING.removesuffix('/')}",
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=MAX_WORKER_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
        datasets=pairs,
        # Each worker has all pairs and takes its part of every batch: so batches do not depend on how many there are.
        dataset_config=DataConfig(datasets_to_split=[]),
    )
    try:
        with own_signals():
            return trainer.fit()
    except Exception as error:
        raise own_error(error, "training") from error


def _outcome(result: Result, run_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The kept weights by name, and the training curve. Raises LimitError for a run that diverged."""
    if result.checkpoint is None:
        raise InfrastructureError(f"training run {run_id}", "it ended without a checkpoint", "run it again")
    with result.checkpoint.as_directory() as folder:
        kept = safetensors.torch.load_file(Path(folder) / KEPT)
        told = told_by(Path(folder) / STATE)
    last = told["milestones"][-1]
    if not abs(last["train_loss"]) < float("inf"):
        found = f"the loss is no number any more after step {last['step']:,}"
        raise LimitError("training", found, "lower --learning-rate or --classifier-rate, or give --precision fp32")
    return kept, told


def _metrics(
    settings: FinetuneSettings,
    sources: Sources,
    run_id: str,
    counts: dict[str, PairCounts],
    told: dict[str, Any],
    workers: TrainingWorkers,
    precision: Precision,
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "kept": told["milestones"][told["kept"]],
        "milestones": told["milestones"],
        "pairs": {name: asdict(found) for name, found in counts.items()},
        "new_classifier": sources.new_classifier,
        "settings": settings.model_dump(mode="json"),
        "model_digests": sources.given.digests,
        "teacher_digests": sources.teacher and sources.teacher.digests,
        "workers": asdict(workers),
        "precision": str(precision),
        "versions": installed_versions(),
    }


def _tidy(output: Folder) -> None:
    """Remove what only a killed run needs."""
    filesystem, path = output.arrow()
    # The checkpoint stands; who may not delete leaves it beside.
    with suppress(OSError):
        filesystem.delete_dir(f"{path}/{TRAINING.removesuffix('/')}")


def _write(output: Folder, name: str, data: bytes) -> None:
    """Put the object there, in place of an older one of its name."""
    if not output.replace(name, data, output.stat(name)):
        found, remedy = "somebody else wrote it at the same time", "look at who else writes here, then run it again"
        raise InfrastructureError(f"write {output.uri_of(name)}", found, remedy)
