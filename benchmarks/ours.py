"""Our in-process rows: the engine alone on tokens prepared beforehand, and the whole way from texts without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.classify.batching import micro_batches
from albert_infer.classify.classification import CPU_BATCH_TOKENS, default_batch_tokens
from albert_infer.classify.probabilities import softmax
from albert_infer.engine.albert import AlbertEngine
from albert_infer.engine.devices import card_of
from albert_infer.labeler import Labeler
from albert_infer.model.checkpoint import Checkpoint, load_checkpoint
from albert_infer.schema import PROBABILITIES, DeviceKind, EncodedPairs, Precision
from benchmarks import devices, machine
from benchmarks.contender import Absent, Contender, Labelling, Pairs


def engine_name(precision: Precision, cores: int | None = None) -> str:
    """The row that the targets are about; `cores` is None for all."""
    return f"our engine alone, {precision}{'' if cores is None else ', one core' if cores == 1 else f', {cores} cores'}"


def labeler_name(precision: Precision) -> str:
    """The same from texts, without Ray."""
    return f"our engine with tokenizing, {precision}"


def engine_contender(
    model: Path, precision: Precision, device: DeviceKind = DeviceKind.CPU, cores: int | None = None
) -> Contender:
    """`AlbertEngine` on encoded pairs in micro-batches; what a labelling worker does most of its time.

    Raises ModelError where the device does not compute in `precision`.
    """
    checkpoint = load_checkpoint(str(model))
    budget = default_batch_tokens(device, checkpoint.shape, card_of(device))
    engine = AlbertEngine(checkpoint.shape, checkpoint.weights, precision=precision, device=device, threads=cores)

    def on_tokens(pairs: Pairs) -> Labelling:
        encoded = encoded_pairs(checkpoint, pairs)
        batches = micro_batches(encoded.lengths, budget)
        return lambda: softmax(engine.logits(encoded, batches))

    settings = f"{precision}, max_batch_tokens={budget}, tokenizing not timed"
    name = engine_name(precision, cores)
    return Contender(name, settings, precision, on_tokens, cores, beside_limit=True)


def one_core_contenders(model: Path, precisions: Sequence[Precision]) -> list[Contender | Absent]:
    """The engine on one core of a CPU, in each precision that it computes in; none where there is only one core."""
    if machine.cores() == 1:
        return []
    return [
        Absent(engine_name(precision, 1), precision, reason)
        if (reason := devices.obstacle(DeviceKind.CPU, precision))
        else engine_contender(model, precision, cores=1)
        for precision in precisions
    ]


def labeler_contender(model: Path, precision: Precision) -> Contender:
    """`Labeler.label`: validation, tokenizing, micro-batches, engine and the output table."""
    labeler = Labeler(str(model), precision=precision, device="cpu")

    def from_texts(pairs: Pairs) -> Labelling:
        return lambda: _stored_probabilities(labeler.label(pairs))

    settings = f"{precision}, max_batch_tokens={CPU_BATCH_TOKENS}, from texts to table, all timed"
    return Contender(labeler_name(precision), settings, precision, from_texts)


def encoded_pairs(checkpoint: Checkpoint, pairs: Pairs) -> EncodedPairs:
    """The pairs as the engine takes them."""
    premises, hypotheses = zip(*pairs, strict=True)
    tokenizer = checkpoint.tokenizer(max_length=None)
    skip_nothing = np.zeros(len(pairs), dtype=np.bool_)
    return tokenizer.encode(pa.chunked_array([premises]), pa.chunked_array([hypotheses]), skip_nothing).pairs


def _stored_probabilities(labelled: pa.Table) -> NDArray[np.float32]:
    return np.stack([labelled[name].to_numpy() for name in PROBABILITIES], axis=1)
