"""The packed ALBERT forward pass. Knows nothing about text, labels' names, files, or how micro-batches are chosen.

Shapes: R rows of the call, B rows of a micro-batch, T its tokens, H hidden, C labels; inside attention N rows of one
length L, A heads of D columns.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.activations import ACTIVATION_BY_NAME
from albert_infer.engine.memory import MicroBatchLogits, logits_within_memory
from albert_infer.engine.packing import LengthRun, PackedTokens, packed_tokens
from albert_infer.engine.shape import AlbertShape
from albert_infer.engine.weights import AlbertWeights, LayerWeights, albert_weights
from albert_infer.errors import ModelError
from albert_infer.schema import DeviceKind, EncodedPairs, Precision


class AlbertEngine:
    """A loaded `AlbertForSequenceClassification` on one device, in one precision.

    `weights` are the bytes of its safetensors files. `threads` sets torch's threads for this process; None leaves
    them. Raises ModelError for weights that do not fit `shape`.
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
        if threads is not None:
            torch.set_num_threads(threads)
        self.precision = precision
        self.shape = shape
        self._device = torch.device(device.value)
        self._weights = albert_weights(shape, weights, precision, device)
        # Read again only by `fp32_micro_batch_logits`.
        self._files = () if precision is Precision.FP32 else tuple(weights)

    def logits(self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Logits (R, labels) in the order of `pairs`; a row that is in no micro-batch, or had no memory, is NaN."""
        logits_RC = np.full((len(pairs.offsets) - 1, self.shape.num_labels), np.nan, dtype=np.float32)
        for batch in self.micro_batch_logits(pairs, batches):
            logits_RC[batch.rows_B] = batch.logits_BC
        return logits_RC

    def micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """One micro-batch after another: every row of `batches` once, as a rule in order of length.

        Raises ModelError for a pair that the checkpoint has no embeddings for.
        """
        return self._passes(pairs, batches, lambda: self._weights)

    def fp32_micro_batch_logits(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[MicroBatchLogits]:
        """The same in fp32, whatever the engine's own precision; its weights are prepared when first needed."""
        return self._passes(pairs, batches, lambda: self._fp32_weights)

    @cached_property
    def _fp32_weights(self) -> AlbertWeights:
        if self.precision is Precision.FP32:
            return self._weights
        return albert_weights(self.shape, self._files, Precision.FP32, DeviceKind(self._device.type))

    def _passes(
        self, pairs: EncodedPairs, batches: Sequence[NDArray[np.int64]], weights: Callable[[], AlbertWeights]
    ) -> Iterator[MicroBatchLogits]:
        _refuse_unknown_tokens(pairs, self.shape)

        def forward(rows_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
            packed = packed_tokens(pairs, rows_B)
            return packed.rows_B, self._forward(packed, weights())

        return logits_within_memory(batches, forward, self.shape.num_labels)

    @torch.inference_mode()
    def _forward(self, packed: PackedTokens, weights: AlbertWeights) -> Tensor:
        hidden_TH = self._embedded(packed, weights)
        for layer in weights.layers[:-1]:
            hidden_TH = self._layer(layer, hidden_TH, packed.runs)
        cls_BH = self._last_layer(weights.layers[-1], hidden_TH, self._on_device(packed.first_token_B), packed.runs)
        pooled_BH = weights.pooler(cls_BH.float()).tanh_()
        return weights.classifier(pooled_BH)

    def _embedded(self, packed: PackedTokens, weights: AlbertWeights) -> Tensor:
        embedded_TE = functional.embedding(self._on_device(packed.input_ids_T), weights.words)
        embedded_TE += functional.embedding(self._on_device(packed.token_type_ids_T), weights.token_types)
        embedded_TE += functional.embedding(self._on_device(packed.positions_T), weights.positions)
        return weights.embedding_to_hidden(weights.embedding_norm(embedded_TE))

    def _layer(self, layer: LayerWeights, hidden_TH: Tensor, runs: Sequence[LengthRun]) -> Tensor:
        query_TH, key_TH, value_TH = layer.qkv(hidden_TH).chunk(3, dim=1)
        context_TH = self._attention(query_TH, key_TH, value_TH, runs)
        return self._after_attention(layer, hidden_TH, context_TH)

    def _last_layer(
        self, layer: LayerWeights, hidden_TH: Tensor, first_token_B: Tensor, runs: Sequence[LengthRun]
    ) -> Tensor:
        """Only [CLS] leaves the layer, because the classifier reads nothing else; keys and values need every token."""
        cls_BH = hidden_TH.index_select(0, first_token_B)
        key_TH, value_TH = layer.key_value(hidden_TH).chunk(2, dim=1)
        context_BH = self._attention(layer.query(cls_BH), key_TH, value_TH, runs)
        return self._after_attention(layer, cls_BH, context_BH)

    def _after_attention(self, layer: LayerWeights, hidden_XH: Tensor, context_XH: Tensor) -> Tensor:
        attended_XH = layer.attention_norm(layer.attention_output(context_XH).add_(hidden_XH))
        activated_XF = ACTIVATION_BY_NAME[self.shape.hidden_act](layer.ffn(attended_XH))
        return layer.ffn_norm(layer.ffn_output(activated_XF).add_(attended_XH))

    def _attention(self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor, runs: Sequence[LengthRun]) -> Tensor:
        """Each row attends to itself. The queries are all tokens of a row or its first alone: X is T or B."""
        query_sizes = [run.tokens if len(query_XH) == len(key_TH) else run.rows for run in runs]
        sizes = [run.tokens for run in runs]
        parts = zip(
            runs,
            torch.split(query_XH, query_sizes),
            torch.split(key_TH, sizes),
            torch.split(value_TH, sizes),
            strict=True,
        )
        contexts = [self._rectangle_attention(run.rows, *qkv) for run, *qkv in parts]
        return contexts[0] if len(contexts) == 1 else torch.cat(contexts)

    def _rectangle_attention(self, rows: int, query_XH: Tensor, key_XH: Tensor, value_XH: Tensor) -> Tensor:
        heads = (rows, -1, self.shape.num_attention_heads, self.shape.head_size)
        query_NALD, key_NALD, value_NALD = (
            columns.view(heads).transpose(1, 2) for columns in (query_XH, key_XH, value_XH)
        )
        context_NALD = functional.scaled_dot_product_attention(query_NALD, key_NALD, value_NALD)
        return context_NALD.transpose(1, 2).reshape(query_XH.shape)

    def _on_device(self, array: NDArray[np.int32] | NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


def _refuse_unknown_tokens(pairs: EncodedPairs, shape: AlbertShape) -> None:
    # Checked here because a GPU reports an index out of range by losing the whole process.
    highest_id, longest = pairs.input_ids.max(initial=0), pairs.lengths.max(initial=0)
    if highest_id >= shape.vocab_size:
        asked = f"token ids below the checkpoint's vocab_size {shape.vocab_size}"
        raise ModelError(asked, f"found {highest_id}", "use the tokenizer that belongs to the checkpoint")
    if longest > shape.max_position_embeddings:
        asked = f"pairs of at most {shape.max_position_embeddings} tokens (max_position_embeddings)"
        raise ModelError(asked, f"found one of {longest}", "truncate pairs to the checkpoint's limit")
