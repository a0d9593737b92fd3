"""Safetensors bytes to the prepared weights of a forward pass.

Every tensor is checked against the shape that config.json promises; query, key and value are fused once per inner
layer of a group: ALBERT shares layers, so preparation is cheap whatever it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.int8 import Int8Dense, refuse_without_int8
from albert_infer.engine.shape import USE_ANOTHER, AlbertShape
from albert_infer.engine.tensors import layer_name, refuse_unfit_tensors, tensor_headers
from albert_infer.errors import ModelError
from albert_infer.schema import DeviceKind, Precision

# What hidden states are kept in; in int8 only the layers' products are.
DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.INT8: torch.float32}

# A matrix product with bias: (…, in) to a fresh tensor (…, out).
Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Dense:
    """A matrix product with bias, in the precision of its weights."""

    weight: Tensor
    bias: Tensor

    def __call__(self, hidden: Tensor) -> Tensor:
        """`hidden` (…, in) to a fresh tensor (…, out)."""
        return functional.linear(hidden, self.weight, self.bias)


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
class LayerWeights:
    """One inner layer of a group. `qkv` is query, key and value side by side; `query` and `key_value` are its parts."""

    qkv: Product
    query: Product
    key_value: Product
    attention_output: Product
    attention_norm: Norm
    ffn: Product
    ffn_output: Product
    ffn_norm: Norm


@dataclass(frozen=True)
class AlbertWeights:
    """All that a forward pass reads. Pooler and classifier are fp32 at any precision."""

    words: Tensor
    positions: Tensor
    token_types: Tensor
    embedding_norm: Norm
    embedding_to_hidden: Dense
    layers: tuple[LayerWeights, ...]
    pooler: Dense
    classifier: Dense


def albert_weights(
    shape: AlbertShape, files: Sequence[bytes], precision: Precision, device: DeviceKind
) -> AlbertWeights:
    """Read the weights of `shape` from the bytes of one or several safetensors files, and put them on `device`.

    `layers` holds one entry for each step of `shape.path`; steps that share a layer share its entry. Raises ModelError
    for a file that is not safetensors, for a tensor that is missing, of another shape, or not of floating point, and
    for int8 on a GPU.
    """
    if precision is Precision.INT8:
        refuse_without_int8(device)
    tensors = _tensors(shape, files)
    reader = _TensorReader(tensors, shape.layer_norm_eps, DTYPES[precision], torch.device(device.value))
    product = Int8Dense if precision is Precision.INT8 else Dense
    layers = {step: _layer_weights(reader, shape.hidden_size, layer_name(*step), product) for step in set(shape.path)}
    return AlbertWeights(
        words=reader.tensor("albert.embeddings.word_embeddings.weight"),
        positions=reader.tensor("albert.embeddings.position_embeddings.weight"),
        token_types=reader.tensor("albert.embeddings.token_type_embeddings.weight"),
        embedding_norm=reader.norm("albert.embeddings.LayerNorm"),
        embedding_to_hidden=reader.dense("albert.encoder.embedding_hidden_mapping_in"),
        layers=tuple(layers[step] for step in shape.path),
        pooler=reader.fp32.dense("albert.pooler"),
        classifier=reader.fp32.dense("classifier"),
    )


def _tensors(shape: AlbertShape, files: Sequence[bytes]) -> dict[str, Tensor]:
    """The tensors of all files by name, each of the shape that it must have."""
    headers = []
    tensors: dict[str, Tensor] = {}
    for number, file in enumerate(files, start=1):
        try:
            headers.append(tensor_headers(file))
            tensors |= safetensors.torch.load(file)
        except (ValueError, SafetensorError) as error:
            asked = f"weights file {number} of {len(files)} in safetensors format"
            raise ModelError(asked, f"{len(file)} bytes that are not: {error}", USE_ANOTHER) from error
    refuse_unfit_tensors(shape, headers)
    return tensors


@dataclass(frozen=True)
class _TensorReader:
    """Tensors by name, in one precision, on one device."""

    tensors: dict[str, Tensor]
    layer_norm_eps: float
    dtype: torch.dtype
    device: torch.device

    @property
    def fp32(self) -> _TensorReader:
        return _TensorReader(self.tensors, self.layer_norm_eps, torch.float32, self.device)

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name].to(device=self.device, dtype=self.dtype)

    def weight_and_bias(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")

    def dense(self, name: str) -> Dense:
        return Dense(*self.weight_and_bias(name))

    def norm(self, name: str) -> Norm:
        return Norm(*self.weight_and_bias(name), self.layer_norm_eps)


def _layer_weights(
    reader: _TensorReader, hidden: int, layer: str, product: Callable[[Tensor, Tensor], Product]
) -> LayerWeights:
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
