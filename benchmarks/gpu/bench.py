"""The models, pairs and engines of the steps, on a card or in a dry run, and how calls on a device are timed.

In a dry run every shape is the tiny one, so that each step runs on a CPU in a second.

Shapes: R pairs, B rows of a micro-batch.
"""
# ruff: noqa: N803 - arrays end in their shape

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from albert_infer.classify.batching import micro_batches
from albert_infer.classify.classification import default_batch_tokens
from albert_infer.engine import AlbertShape
from albert_infer.engine.albert import AlbertEngine
from albert_infer.engine.devices import card_of
from albert_infer.engine.tensors import albert_tensors
from albert_infer.model.checkpoint import Checkpoint, load_checkpoint
from albert_infer.schema import DeviceKind, EncodedPairs, Precision
from benchmarks import checkpoint
from benchmarks.devices import finish
from benchmarks.gpu.figures import SkippedError

BUILTIN: Final = "builtin"
TINY: Final = "tiny"
# Of the pairs of a benchmark: SNLI's mean, and the ends of its lengths.
MEAN_TOKENS, SHORTEST, LONGEST = 28, 8, 90
DRY_PAIRS: Final = 60
UNIT_PAIRS: Final = 16_384
# Cards from this capability on compute in bf16.
BF16_CAPABILITY: Final = (8, 0)


@dataclass(frozen=True)
class Model:
    """A shape and the bytes of its safetensors file."""

    shape: AlbertShape
    weights: Sequence[bytes]


@dataclass
class Bench:
    """A run's device and models. `scratch` is a folder for checkpoints."""

    dry: bool
    scratch: Path
    _checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    _random_models: dict[str, Model] = field(default_factory=dict)

    @property
    def device(self) -> DeviceKind:
        """The device under test."""
        return DeviceKind.CPU if self.dry else DeviceKind.CUDA

    @property
    def where(self) -> torch.device:
        """The same for torch."""
        return torch.device(self.device.value)

    @property
    def capability(self) -> tuple[int, int]:
        """Of the card; of none in a dry run."""
        return (0, 0) if self.dry else torch.cuda.get_device_capability()

    @property
    def half(self) -> Precision:
        """The 16-bit precision of the card: bf16, or fp16 where the card has no bf16. Raises SkippedError."""
        if self.dry or self.capability >= BF16_CAPABILITY:
            return Precision.BF16
        return precision_named("fp16")

    def folder(self, name: str) -> Path:
        """A folder with a checkpoint of that shape, as Hugging Face saves it."""
        name = TINY if self.dry else name
        folder = self.scratch / name
        if not folder.exists():
            checkpoint.save_checkpoint(folder, checkpoint.SHAPES[name])
        return folder

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that shape, or the built-in one."""
        if name not in self._checkpoints:
            self._checkpoints[name] = load_checkpoint(BUILTIN if name == BUILTIN else str(self.folder(name)))
        return self._checkpoints[name]

    def random_model(self, name: str) -> Model:
        """Random weights in bf16 without a file: a wide checkpoint would take a minute to write and read."""
        if name not in self._random_models:
            labels = {"id2label": {"0": "", "1": "", "2": ""}}
            sizes = {**checkpoint.SHAPES[TINY if self.dry else name], **labels, "vocab_size": 30_000}
            self._random_models[name] = _random_model(AlbertShape.from_config({**sizes, "model_type": "albert"}))
        return self._random_models[name]

    def engine(self, model: Model | Checkpoint, precision: Precision, device: DeviceKind | None = None) -> AlbertEngine:
        """An engine of the model; on the device under test where no other is given."""
        return AlbertEngine(model.shape, model.weights, precision=precision, device=device or self.device, threads=None)

    def budget(self, shape: AlbertShape) -> int:
        """Tokens of a pass that a job would plan on this device."""
        return default_batch_tokens(self.device, shape, card_of(self.device))

    def snli_like(self, count: int, shape: AlbertShape, mean: float = MEAN_TOKENS) -> EncodedPairs:
        """Pairs of random tokens with the lengths of SNLI; few in a dry run."""
        random = np.random.default_rng(2)
        lengths = np.clip(random.gamma(9, mean / 9, DRY_PAIRS if self.dry else count).round(), SHORTEST, LONGEST)
        return random_pairs(lengths.astype(np.int64), shape.vocab_size)

    def middle_batch(self, pairs: EncodedPairs, tokens: int) -> NDArray[np.int64]:
        """The rows of a full micro-batch whose pairs are of a usual length."""
        batches = micro_batches(pairs.lengths, tokens)
        return batches[len(batches) // 2 if len(batches) > 1 else 0]


def _random_model(shape: AlbertShape) -> Model:
    """Norms of ones, and all else of the deviation of a new model."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.ones(size, dtype=torch.bfloat16)
        if name.lower().replace("_", "").endswith("layernorm.weight")
        else torch.empty(size, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
        for name, size in albert_tensors(shape).items()
    }
    return Model(shape, [safetensors.torch.save(tensors)])


def precision_named(name: str) -> Precision:
    """The precision of that name. Raises SkippedError where the engine has none."""
    if name not in [str(each) for each in Precision]:
        raise SkippedError(f"this engine has no {name}")
    return Precision(name)


def random_pairs(lengths_R: NDArray[np.int64], vocabulary: int, seed: int = 1) -> EncodedPairs:
    """Pairs of random tokens with these lengths."""
    random = np.random.default_rng(seed)
    ids = random.integers(5, vocabulary, int(lengths_R.sum())).astype(np.int32)
    return EncodedPairs(ids, np.concatenate([[0], lengths_R.cumsum()]), (lengths_R // 2).astype(np.int32))


def consume(results: Iterable[Any]) -> None:
    """Take every result and keep none."""
    for _ in results:
        pass


def seconds_of(call: Callable[[], object], device: DeviceKind, repeat: int = 10) -> float:
    """Seconds of one call, of `repeat` calls in a row after a first one."""
    call()
    finish(device)
    began = time.perf_counter()
    for _ in range(repeat):
        call()
    finish(device)
    return (time.perf_counter() - began) / repeat


def pass_seconds(
    engine: AlbertEngine, pairs: EncodedPairs, rows_B: NDArray[np.int64], device: DeviceKind, repeat: int
) -> float:
    """Seconds of one pass where passes follow one another, as in a job: the host prepares the next one meanwhile."""
    consume(engine.micro_batch_logits(pairs, [rows_B] * 2))
    finish(device)
    began = time.perf_counter()
    consume(engine.micro_batch_logits(pairs, [rows_B] * repeat))
    finish(device)
    return (time.perf_counter() - began) / repeat
