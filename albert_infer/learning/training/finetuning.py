"""Fine-tunes from settings to a checkpoint folder: reads the pairs, trains with Ray Train, writes the weights.

`metrics.json` is written last, so a folder with it is complete. Until then `_training/` in the same folder has the
state from which a killed run resumes.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from ray.data import DataContext, Dataset
from ray.train import CheckpointConfig, DataConfig, FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from albert_infer import storage
from albert_infer.common.extras import refuse_missing
from albert_infer.common.json_input import parsed_json
from albert_infer.common.printable import how_many, reason_of
from albert_infer.common.versions import installed_versions
from albert_infer.config import FinetuneSettings
from albert_infer.errors import (
    InfrastructureError,
    InputError,
    IntegrityError,
    LimitError,
    OutputError,
    SupersededError,
)
from albert_infer.learning.training.board import TrainingBoard, shown
from albert_infer.learning.training.card import model_card
from albert_infer.learning.training.learner import KEPT, STATE, curve_in
from albert_infer.learning.training.pairs import counted, tokenized
from albert_infer.learning.training.record import CountedPairs, Metrics, SavedCurve
from albert_infer.learning.training.sources import Sources, read_sources, run_id_of
from albert_infer.learning.training.start import files_of, starting_model
from albert_infer.learning.training.summary import summary
from albert_infer.learning.training.task import EVAL, TRAIN, TrainTask
from albert_infer.learning.training.worker import train_on_worker
from albert_infer.learning.training.workers import TrainingWorkers, computing_workers
from albert_infer.model.checkpoint import verified
from albert_infer.model.known_files import CONFIG
from albert_infer.pipeline.connecting import connected, own_signals
from albert_infer.pipeline.resources import Node
from albert_infer.pipeline.session import session_settings, shared
from albert_infer.pipeline.stage_errors import own_errors
from albert_infer.storage import Folder, S3Access

METRICS: Final = "metrics.json"
CARD: Final = "README.md"
CURVE: Final = "training_curve.png"
# The folder for the state of a running training, inside the output. Readers of the checkpoint ignore the underscore.
TRAINING: Final = "_training/"
# The metrics have an entry for each evaluation.
MAX_METRICS_BYTES: Final = 1 << 24
# Nodes and processes may fail. After three failures a fourth is likely.
MAX_WORKER_FAILURES: Final = 3
# 99 % of the pairs of SNLI and MultiNLI are shorter. The few long ones would cost too much time.
MAX_TRAINING_TOKENS: Final = 128


def finetune(settings: FinetuneSettings) -> Metrics:
    """Train, and write the checkpoint to `settings.output`. Returns the contents of `metrics.json`.

    A killed run resumes from its last milestone. A finished run is not repeated. Raises AlbertInferError.
    """
    refuse_missing("fine-tuning", "training")
    access = S3Access(settings.s3_endpoint)
    output = storage.open_folder(settings.output, access)
    sources = read_sources(settings, access)
    run_id = run_id_of(settings, sources)
    with storage.refused(OutputError):
        finished = _finished_run(output, run_id, settings)
    if finished is not None:
        return finished
    storage.check_writable(output)
    started = time.monotonic()
    with connected(debug=settings.debug) as nodes:
        metrics = _trained(settings, sources, output, run_id, nodes)
    metrics["seconds"] = round(time.monotonic() - started, 1)
    _write(output, METRICS, json.dumps(metrics, indent=1).encode())
    _remove_training_state(output)
    return metrics


def _finished_run(output: Folder, run_id: str, settings: FinetuneSettings) -> Metrics | None:
    """The metrics at the output if this run has finished there; None if the run may write there.

    Raises SupersededError for another checkpoint without `replace`, and IntegrityError for damaged metrics.
    """
    names = {pin.name for pin in output.objects() if not pin.name.startswith(TRAINING)}
    if METRICS in names:
        metrics = _metrics_of(output, run_id)
        if metrics is not None:
            return metrics
    is_resumed = bool(output.objects(f"{TRAINING}{run_id}/"))
    if names and not is_resumed and not settings.replace:
        problem = f"{'another checkpoint' if CONFIG in names else 'other files'} ({', '.join(sorted(names)[:3])}, …)"
        remedy = "give another --output, or --replace to replace it"
        raise SupersededError(f"write the checkpoint of run {run_id} to {output.uri}", problem, remedy)
    return None


def _metrics_of(output: Folder, run_id: str) -> Metrics | None:
    """The metrics at the output if they belong to this run; None for another run.

    Raises IntegrityError for metrics that cannot be read or shown.
    """
    try:
        metrics: Metrics = parsed_json(output.read(METRICS), max_bytes=MAX_METRICS_BYTES)
        if metrics.get("run_id") != run_id:
            return None
        summary(metrics, output.uri)  # the caller shows it too
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        problem, remedy = f"it does not describe a training ({reason_of(error)})", "move it, or give another --output"
        raise IntegrityError(f"read {output.uri_of(METRICS)}", problem, remedy) from error
    return metrics


def _trained(settings: FinetuneSettings, sources: Sources, output: Folder, run_id: str, nodes: list[Node]) -> Metrics:
    """Train, and write all files except `metrics.json`."""
    # Imported here, after the check that the library is installed.
    from albert_infer.learning.training.curve import curve_png

    workers, precision = computing_workers(settings, nodes)
    checkpoint = verified(sources.start)
    max_length = settings.max_length or min(MAX_TRAINING_TOKENS, checkpoint.shape.max_position_embeddings)
    tokenizer = checkpoint.tokenizer(max_length=max_length)
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
    kept_weights, curve = _outcome(result, run_id)
    metrics = Metrics(
        run_id=run_id,
        kept=curve["milestones"][curve["kept"]],
        milestones=curve["milestones"],
        pairs=counts,
        new_classifier=sources.new_classifier,
        settings=settings.model_dump(mode="json"),
        model_digests=sources.model_files.digests,
        teacher_digests=None if sources.teacher is None else sources.teacher.digests,
        workers=asdict(workers),
        precision=str(precision),
        versions=installed_versions(),
        max_length=max_length,
    )
    trained = starting_model(sources.start, dropout=settings.dropout, seed=settings.seed).model
    trained.load_state_dict(kept_weights)
    files = files_of(trained, settings.model, sources.model_files.tokenizer, settings.save_precision)
    _write(output, CURVE, curve_png(curve["milestones"], curve["kept"]))
    _write(output, CARD, model_card(metrics, files.config).encode())
    for name, data in {**files.weights, **files.tokenizer, CONFIG: files.config_json}.items():
        _write(output, name, data)
    return metrics


def _refuse_nothing_to_learn(settings: FinetuneSettings, counts: dict[str, CountedPairs]) -> None:
    for flag, uri, pairs in (("--train", settings.train, counts[TRAIN]), ("--eval", settings.eval, counts[EVAL])):
        if not pairs["used"]:
            rows, without_gold = how_many(pairs["rows"], "row"), pairs["without_gold"]
            problem = f"of {rows}, {without_gold:,} have no gold label, and the others are rejected"
            raise InputError(f"{flag} {uri}", problem, "give pairs with gold labels")


def _fit(task: TrainTask, pairs: dict[str, Dataset], workers: TrainingWorkers, output: Folder, run_id: str) -> Result:
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
        datasets={**pairs},
        # Each worker has all pairs, and takes a part of every batch, so batches do not depend on the number of workers.
        dataset_config=DataConfig(datasets_to_split=[]),
    )
    with own_errors("training"), own_signals():
        return trainer.fit()


def _outcome(result: Result, run_id: str) -> tuple[dict[str, torch.Tensor], SavedCurve]:
    """The kept weights by name, and the training curve. Raises LimitError for a run that diverged."""
    if result.checkpoint is None:
        raise InfrastructureError(f"training run {run_id}", "it ended without a checkpoint", "run it again")
    with result.checkpoint.as_directory() as folder:
        kept_weights = safetensors.torch.load_file(Path(folder) / KEPT)
        curve = curve_in(Path(folder) / STATE)
    last = curve["milestones"][-1]
    if not abs(last["train_loss"]) < float("inf"):
        problem = f"the loss is not a finite number after step {last['step']:,}"
        raise LimitError("training", problem, "lower --learning-rate or --classifier-rate, or give --precision fp32")
    return kept_weights, curve


def _remove_training_state(output: Folder) -> None:
    """Remove the state that only a killed run needs."""
    filesystem, path = output.arrow()
    # The checkpoint is complete. Without the right to delete, the state stays.
    with suppress(OSError):
        filesystem.delete_dir(f"{path}/{TRAINING.removesuffix('/')}")


def _write(output: Folder, name: str, data: bytes) -> None:
    """Write the object, and replace an older one with this name."""
    if not output.replace(name, data, output.stat(name)):
        problem, remedy = "another program wrote it at the same time", "find the other writer, then run it again"
        raise InfrastructureError(f"write {output.uri_of(name)}", problem, remedy)
