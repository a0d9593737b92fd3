"""The steps of the engine's forward pass, timed: one clock for each thread, and no time between two steps.

The clock is read where the engine goes from one step to the next: before and after each matrix product, the embeddings
and the layers. A step includes the Python code that calls it. The engine's own code computes everything.

Shapes: R pairs, B rows of a micro-batch, T its tokens, H hidden, C labels.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from albert_infer.engine.albert import ForwardPass, Layers
from albert_infer.engine.cpu.fused import FusedLayers
from albert_infer.engine.cpu.threads import Threads
from albert_infer.engine.memory import MicroBatchLogits, logits_within_memory
from albert_infer.engine.packing import PackedTokens
from albert_infer.engine.plain import PlainLayers
from albert_infer.engine.weights import AlbertTensors, LayerWeights
from albert_infer.schema import DeviceKind, EncodedPairs, Precision

P = TypeVar("P")


class Step(StrEnum):
    """The steps of a forward pass, in their order. In int8, each step quantises what the next product reads."""

    PACKING = "packing tokens"
    EMBEDDINGS = "embeddings"
    QKV = "product: query, key, value"
    ATTENTION = "attention"
    ATTENTION_OUTPUT = "product: attention output"
    NORMS = "residual and norm"
    FFN = "product: FFN in"
    ACTIVATION = "activation"
    FFN_OUTPUT = "product: FFN out"
    CLASSIFIER = "pooler and classifier"
    REST = "buffers, first copy"


PRODUCTS: Final = (Step.QKV, Step.ATTENTION_OUTPUT, Step.FFN, Step.FFN_OUTPUT)
# The products of a layer by their names, and the step after each.
STEPS_OF_PRODUCTS: Final = {
    "qkv": (Step.QKV, Step.ATTENTION),
    "query": (Step.QKV, Step.ATTENTION),
    "key_value": (Step.QKV, Step.ATTENTION),
    "attention_output": (Step.ATTENTION_OUTPUT, Step.NORMS),
    "ffn": (Step.FFN, Step.ACTIVATION),
    "ffn_output": (Step.FFN_OUTPUT, Step.NORMS),
}


class Clock(threading.local):
    """The seconds of each step in this thread. Exactly one step runs between `start` and `stop`.

    It counts the time in which this thread has a core: other work on the machine lengthens no step.
    """

    def __init__(self) -> None:
        self.seconds: Counter[Step] = Counter()
        self._step = Step.PACKING
        self._since = 0.0

    def start(self) -> None:
        """A pass begins."""
        self.seconds = Counter()
        self._step, self._since = Step.PACKING, time.thread_time()

    def enter(self, step: Step) -> None:
        """The step before ends, and `step` begins."""
        now = time.thread_time()
        self.seconds[self._step] += now - self._since  # type: ignore[assignment]  # a counter of seconds
        self._step, self._since = step, now

    def stop(self) -> dict[Step, float]:
        """The pass ends: the seconds of its steps."""
        self.enter(Step.PACKING)
        return dict(self.seconds)


@dataclass(frozen=True)
class TimedPass(ForwardPass):
    """A forward pass that adds the seconds of each of its passes to `taken`."""

    clock: Clock = field(default_factory=Clock, kw_only=True)
    taken: list[dict[Step, float]] = field(default_factory=list, kw_only=True)

    @classmethod
    def timed(cls, tensors: AlbertTensors, precision: Precision) -> TimedPass:
        """The engine's own forward pass on a CPU, with clocks between its steps."""
        forward, clock = ForwardPass.prepared(tensors, precision, DeviceKind.CPU), Clock()
        layers = forward.layers
        # Set in place: a second preparation here could differ from the engine's.
        if isinstance(layers, FusedLayers | PlainLayers):
            layers._layers = [_timed_layer(layer, clock) for layer in layers._layers]
        return cls(forward.ends, _TimedLayers(layers, clock), forward.device, clock=clock)

    def logits(self, pairs: EncodedPairs, rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
        """As `ForwardPass.logits`."""
        self.clock.start()
        result = super().logits(pairs, rows_B)
        self.taken.append(self.clock.stop())
        return result

    def _embedded(self, packed: PackedTokens) -> Tensor:
        self.clock.enter(Step.EMBEDDINGS)
        return super()._embedded(packed)


@dataclass(frozen=True)
class Passes:
    """All passes of one round: the seconds from the first to the last, and of each step, summed over the cores."""

    seconds: float
    steps: dict[Step, float]
    logits_RC: NDArray[np.float32]  # noqa: N815  (its shape)


def timed_passes(
    forward: TimedPass, labels: int, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]], cores: int
) -> Passes:
    """The logits of `pairs`, computed as `AlbertEngine` computes them in `cores` threads."""
    forward.taken.clear()
    one_pass = partial(forward.logits, pairs)
    calls = [partial(list[MicroBatchLogits], logits_within_memory([rows_B], one_pass, labels)) for rows_B in batches]
    logits_RC = np.full((len(pairs.lengths), labels), np.nan, dtype=np.float32)
    threads = Threads(cores)
    begun = time.perf_counter()
    for computed in threads.results(calls):
        for batch in computed:
            logits_RC[batch.rows_B] = batch.logits_BC
    seconds = time.perf_counter() - begun
    return Passes(seconds, {step: sum(each.get(step, 0.0) for each in forward.taken) for step in Step}, logits_RC)


@dataclass(frozen=True)
class _TimedLayers:
    """What comes before the first product is `REST`; what comes after the layers is `CLASSIFIER`."""

    layers: Layers
    clock: Clock

    def cls_states(self, hidden_TH: Tensor, packed: PackedTokens) -> Tensor:
        """As `Layers.cls_states`."""
        self.clock.enter(Step.REST)
        states_BH = self.layers.cls_states(hidden_TH, packed)
        self.clock.enter(Step.CLASSIFIER)
        return states_BH


@dataclass(frozen=True)
class _TimedProduct:
    """A product, whose time is that of `step`; the step after it is `after`."""

    product: Callable[[Any], Any]
    step: Step
    after: Step
    clock: Clock

    def __call__(self, operand: Any) -> Any:
        self.clock.enter(self.step)
        result = self.product(operand)
        self.clock.enter(self.after)
        return result


def _timed_layer(layer: LayerWeights[P], clock: Clock) -> LayerWeights[P]:
    timed: dict[str, Any] = {
        name: _TimedProduct(getattr(layer, name), *steps, clock) for name, steps in STEPS_OF_PRODUCTS.items()
    }
    return replace(layer, **timed)
