"""Turns the bytes of safetensors files into the prepared weights of a forward pass.

Every tensor must have the shape that config.json requires. Query, key and value are fused once per inner layer of a
group. ALBERT shares layers, so preparation is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.shape import USE_ANOTHER, AlbertShape
from albert_infer.engine.tensors import layer_name, refuse_unfit_tensors, tensor_headers
from albert_infer.errors import ModelError

# A matrix product with bias, from a weight (out, in) and a bias (out).
P = TypeVar("P")


@dataclass(frozen=True)
class Dense:
    """A matrix product with bias, in the precision of its weights."""

    weight: Tensor
    bias: Tensor

    def __call__(self, hidden: Tensor) -> Tensor:
        """`hidden` (…, in) to a fresh tensor (…, out)."""
        return functional.linear(hidden, self.weight, self.bias)


class PackedDense:
    """The same by oneDNN on a CPU. The weights are laid out once for the products."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        # A private function, as below. Torch has no public function that lays weights out, and its compiler calls both.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias

    def __call__(self, hidden: Tensor) -> Tensor:
        """`hidden` (X, in) to a fresh tensor (X, out)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(hidden, self._weight, self._bias, "none", [], "")
        return product


def onednn_has_bf16() -> bool:
    """Whether oneDNN has fast products in bf16 on this processor: of packed weights, and from int8."""
    # A private function. Torch has no public one that knows what oneDNN does.
    has_bf16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return has_bf16


@dataclass(frozen=True)
class Norm:
    """A LayerNorm over the last dimension."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, hidden: Tensor) -> Tensor:
        """`hidden` normalised, as a fresh tensor."""
        return functional.layer_norm(hidden, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class LayerWeights(Generic[P]):
    """One inner layer of a group. `qkv` joins query, key and value; `query` and `key_value` are its parts."""

    qkv: P
    query: P
    key_value: P
    attention_output: P
    attention_norm: Norm
    ffn: P
    ffn_output: P
    ffn_norm: Norm


@dataclass(frozen=True)
class EndWeights:
    """The weights before and after the layers. Pooler and classifier are fp32 in every precision."""

    words: Tensor
    positions: Tensor
    token_types: Tensor
    embedding_norm: Norm
    embedding_to_hidden: Dense
    pooler: Dense
    classifier: Dense


@dataclass(frozen=True)
class AlbertTensors:
    """The tensors of a checkpoint by name. Each has the required shape."""

    shape: AlbertShape
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, shape: AlbertShape, files: Sequence[bytes]) -> AlbertTensors:
        """Read the bytes of one or several safetensors files.

        Raises ModelError for a file that is not safetensors, and for a tensor that is missing, of another shape, or
        not of floating point.
        """
        headers = []
        tensors: dict[str, Tensor] = {}
        for number, file in enumerate(files, start=1):
            try:
                headers.append(tensor_headers(file))
                tensors |= safetensors.torch.load(file)
            except (ValueError, SafetensorError) as error:
                asked = f"weights file {number} of {len(files)} in safetensors format"
                raise ModelError(asked, f"{len(file)} bytes in another format: {error}", USE_ANOTHER) from error
        refuse_unfit_tensors(shape, headers)
        return cls(shape, tensors)

    def ends(self, dtype: torch.dtype, device: torch.device) -> EndWeights:
        """The weights outside the layers, on `device`."""
        reader = _TensorReader(self.tensors, self.shape.layer_norm_eps, dtype, device)
        fp32 = _TensorReader(self.tensors, self.shape.layer_norm_eps, torch.float32, device)
        return EndWeights(
            words=reader.tensor("albert.embeddings.word_embeddings.weight"),
            positions=reader.tensor("albert.embeddings.position_embeddings.weight"),
            token_types=reader.tensor("albert.embeddings.token_type_embeddings.weight"),
            embedding_norm=reader.norm("albert.embeddings.LayerNorm"),
            embedding_to_hidden=reader.dense("albert.encoder.embedding_hidden_mapping_in"),
            pooler=fp32.dense("albert.pooler"),
            classifier=fp32.dense("classifier"),
        )

    def layers(
        self, dtype: torch.dtype, device: torch.device, product: Callable[[Tensor, Tensor], P]
    ) -> tuple[LayerWeights[P], ...]:
        """One entry for each step of `shape.path`; steps that share a layer share its entry."""
        reader = _TensorReader(self.tensors, self.shape.layer_norm_eps, dtype, device)
        by_step = {
            step: _layer_weights(reader, self.shape.hidden_size, layer_name(*step), product)
            for step in set(self.shape.path)
        }
        return tuple(by_step[step] for step in self.shape.path)


@dataclass(frozen=True)
class _TensorReader:
    """Tensors by name, in one precision, on one device."""

    tensors: dict[str, Tensor]
    layer_norm_eps: float
    dtype: torch.dtype
    device: torch.device

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name].to(device=self.device, dtype=self.dtype)

    def weight_and_bias(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")

    def dense(self, name: str) -> Dense:
        return Dense(*self.weight_and_bias(name))

    def norm(self, name: str) -> Norm:
        return Norm(*self.weight_and_bias(name), self.layer_norm_eps)


def _layer_weights(
    reader: _TensorReader, hidden: int, layer: str, product: Callable[[Tensor, Tensor], P]
) -> LayerWeights[P]:
    weight, bias = (
        torch.cat([reader.tensor(f"{layer}.attention.{part}.{kind}") for part in ("query", "key", "value")])
        for kind in ("weight", "bias")
    )
    return LayerWeights(
        qkv=product(weight, bias),
        query=product(weight[:hidden], bias[:hidden]),
        key_value=product(weight[hidden:], bias[hidden:]),
        attention_output=product(*reader.weight_and_bias(f"{layer}.attention.dense")),
        attention_norm=reader.norm(f"{layer}.attention.LayerNorm"),
        ffn=product(*reader.weight_and_bias(f"{layer}.ffn")),
        ffn_output=product(*reader.weight_and_bias(f"{layer}.ffn_output")),
        ffn_norm=reader.norm(f"{layer}.full_layer_layer_norm"),
    )
