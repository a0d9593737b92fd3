"""The packed ALBERT forward pass. It does not handle texts, names of labels, files, or the choice of micro-batches.

Shapes: R rows of the call, B rows of a micro-batch, T its tokens, E embedding, H hidden, C labels.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from threading import Lock
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.cpu.fused import FusedLayers, cpu_obstacle, fused_layers
from albert_infer.engine.cpu.int8 import Int8Dense, refuse_without_int8
from albert_infer.engine.cpu.threads import Threads
from albert_infer.engine.cuda.choice import card_layers, card_obstacle
from albert_infer.engine.cuda.fp8 import refuse_without_fp8
from albert_infer.engine.cuda.fused import CudaLayers
from albert_infer.engine.cuda.passes import Passes
from albert_infer.engine.devices import to_device
from albert_infer.engine.kernel_use import KernelState, KernelUse
from albert_infer.engine.memory import MicroBatchLogits, logits_within_memory
from albert_infer.engine.packing import PackedTokens, packed_tokens, with_rows_in_bounds
from albert_infer.engine.plain import PlainLayers, PlainProduct
from albert_infer.engine.processor import cpu_flags, cpu_vendor, mkl_is_slow
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.weights import AlbertTensors, Dense, EndWeights, PackedDense
from albert_infer.errors import ModelError
from albert_infer.schema import DeviceKind, EncodedPairs, Precision

# The type of the embeddings, and of the hidden states in plain layers.
DTYPES: Final = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    Precision.INT8: torch.float32,
    Precision.FP8: torch.bfloat16,
}
FUSED_ON_CPUS: Final = (Precision.BF16, Precision.INT8)


class AlbertEngine:
    """A loaded `AlbertForSequenceClassification` on one device, in one precision.

    `weights` are the bytes of its safetensors files. On a CPU `threads` micro-batches are computed at once; None is
    torch's number of threads. Raises ModelError for weights that do not fit `shape`, for int8 on a GPU, and for
    fp8 on a device without it.
    """

    def __init__(
        self,
        shape: AlbertShape,
        weights: Sequence[bytes],
        *,
        precision: Precision,
        device: DeviceKind,
        threads: int | None,
    ) -> None:
        if precision is Precision.INT8:
            refuse_without_int8(device)
        if precision is Precision.FP8:
            refuse_without_fp8(device)
        self.precision = precision
        self.shape = shape
        self._device = device
        self._threads = Threads(threads or torch.get_num_threads()) if device is DeviceKind.CPU else None
        self._tensors = AlbertTensors.read(shape, weights)
        self._forward = ForwardPass.prepared(self._tensors, precision, device)
        self._fp32 = self._forward if precision is Precision.FP32 else None
        self._preparing_fp32 = Lock()

    @property
    def fused(self) -> bool:
        """Whether the layers are fused. On a CPU, plain layers take longer: a half in bf16, twice as long in int8.

        On a card, fused layers move a third less memory.
        """
        return isinstance(self._forward.layers, FusedLayers | CudaLayers)

    @property
    def kernels(self) -> KernelUse:
        """Whether this engine computes with compiled kernels, and what keeps it from them."""
        asked = f"{self.precision} on {self._device}"
        if self.precision is Precision.FP32:
            return KernelUse.here(asked, KernelState.NOT_NEEDED, None)
        if self._device is DeviceKind.CPU:
            obstacle = cpu_obstacle(self.shape, self.precision)
        else:
            obstacle = card_obstacle(self.shape)
        return KernelUse.here(asked, KernelState.COMPILED if self.fused else KernelState.MISSING, obstacle)

    def logits(self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Logits (R, labels) in the order of `pairs`; NaN for rows outside `batches`, or beyond the memory."""
        logits_RC = np.full((len(pairs.offsets) - 1, self.shape.num_labels), np.nan, dtype=np.float32)
        for batch in self.micro_batch_logits(pairs, batches):
            logits_RC[batch.rows_B] = batch.logits_BC
        return logits_RC

    def micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """Yield the logits of each micro-batch. Every row of `batches` appears once, usually in order of length.

        A micro-batch of more rows than attention takes on a GPU comes in parts. Raises ModelError for a token id or a
        position without an embedding.
        """
        return self._computed(pairs, batches, lambda: self._forward)

    def fp32_micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """The same in fp32, for an engine of any precision. The first call prepares the fp32 weights."""
        return self._computed(pairs, batches, self._fp32_forward) if batches else iter(())

    def _fp32_forward(self) -> ForwardPass:
        with self._preparing_fp32:
            if self._fp32 is None:
                self._fp32 = ForwardPass.prepared(self._tensors, Precision.FP32, self._device)
            return self._fp32

    def _computed(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]], forward_of: Callable[[], ForwardPass]
    ) -> Iterator[MicroBatchLogits]:
        """Each pass by `forward_of()`, called inside the guard: the device may have no memory for its weights."""
        _refuse_unknown_tokens(pairs, self.shape)

        def forward(rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
            return forward_of().logits(pairs, rows_B)

        def within_memory(group: Iterable[NDArray[np.int64]]) -> Iterator[MicroBatchLogits]:
            return logits_within_memory(group, forward, self.shape.num_labels)

        passes = with_rows_in_bounds(batches)
        if self._threads is None:
            return within_memory(passes)
        calls = (partial(list[MicroBatchLogits], within_memory([rows_B])) for rows_B in passes)
        return chain.from_iterable(self._threads.results(calls))


class Layers(Protocol):
    """The layers, first to last, on one device."""

    def cls_states(self, hidden_TH: Tensor, packed: PackedTokens) -> Tensor:
        """The output of the last layer at the [CLS] of each row (B, H)."""


@dataclass(frozen=True)
class ForwardPass:
    """From tokens to logits, prepared for one device and one precision."""

    ends: EndWeights
    layers: Layers
    device: torch.device
    # The passes of fused layers on a card. Without them the embeddings are plain operations.
    passes: Passes | None = None

    @classmethod
    def prepared(cls, tensors: AlbertTensors, precision: Precision, device: DeviceKind) -> ForwardPass:
        """The forward pass, with fused layers where they are available."""
        where, dtype = torch.device(device.value), DTYPES[precision]
        if device is DeviceKind.CPU and precision in FUSED_ON_CPUS:
            fused = fused_layers(tensors, precision)
            if fused is not None:
                return cls(tensors.ends(dtype, where), fused, where)
        if device is DeviceKind.CUDA and precision is not Precision.FP32:
            on_card = card_layers(tensors, precision, dtype)
            if on_card is not None:
                return cls(tensors.ends(dtype, where), on_card, where, on_card.passes)
        product = _plain_product(precision, device)
        plain = PlainLayers(tensors.shape, tensors.layers(dtype, where, product))
        return cls(tensors.ends(dtype, where), plain, where)

    @torch.inference_mode()
    def logits(self, pairs: EncodedPairs, rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
        """The rows `rows_B` in the order of their logits, and the logits (B, C) on the device."""
        packed = packed_tokens(pairs, rows_B)
        cls_BH = self.layers.cls_states(self._embedded(packed), packed)
        pooled_BH = self.ends.pooler(cls_BH.float()).tanh_()
        return packed.rows_B, self.ends.classifier(pooled_BH)

    def _embedded(self, packed: PackedTokens) -> Tensor:
        indices = (packed.input_ids_T, packed.token_type_ids_T, packed.positions_T)
        words_T, types_T, positions_T = map(self._on_device, indices)
        if self.passes is not None:
            return self.ends.embedding_to_hidden(self.passes.embedded(self.ends, words_T, types_T, positions_T))
        embedded_TE = functional.embedding(words_T, self.ends.words)
        embedded_TE += functional.embedding(types_T, self.ends.token_types)
        embedded_TE += functional.embedding(positions_T, self.ends.positions)
        return self.ends.embedding_to_hidden(self.ends.embedding_norm(embedded_TE))

    def _on_device(self, array: NDArray[np.int32]) -> Tensor:
        return to_device(array, self.device)


def _plain_product(precision: Precision, device: DeviceKind) -> Callable[[Tensor, Tensor], PlainProduct]:
    if precision is Precision.INT8:
        return Int8Dense
    by_onednn = precision is Precision.FP32 and device is DeviceKind.CPU and torch.backends.mkldnn.is_available()
    return PackedDense if by_onednn and mkl_is_slow(cpu_flags(), cpu_vendor()) else Dense


def _refuse_unknown_tokens(pairs: EncodedPairs, shape: AlbertShape) -> None:
    # Checked here, because an index out of range on a GPU ends the whole process.
    highest_id, longest = pairs.input_ids.max(initial=0), pairs.lengths.max(initial=0)
    if highest_id >= shape.vocab_size:
        asked = f"token ids below the checkpoint's vocab_size {shape.vocab_size}"
        raise ModelError(asked, f"found {highest_id}", "use the tokenizer that belongs to the checkpoint")
    if longest > shape.max_position_embeddings:
        asked = f"pairs of at most {shape.max_position_embeddings} tokens (max_position_embeddings)"
        raise ModelError(asked, f"found a pair of {longest}", "truncate pairs to the checkpoint's limit")
