"""The tensors that a shape needs, and those that safetensors files say they hold. Imports no torch; reads no weight.

The format: 8 bytes with the length of a JSON header, the header with each tensor's type, shape and place, the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from albert_infer.engine.shape import USE_ANOTHER, AlbertShape
from albert_infer.errors import ModelError

# Quantised ones would need scales, which no tensor of ALBERT has.
FLOATING_POINT: Final = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class TensorHeader:
    """What a file says of a tensor; `dtype` as the format names it."""

    dtype: str
    shape: tuple[int, ...]


def tensor_headers(file: bytes) -> dict[str, TensorHeader]:
    """The tensors of one safetensors file. Raises ValueError for a file that is cut off or is none."""
    begin = 8 + int.from_bytes(file[:8], "little")
    try:
        entries = {name: entry for name, entry in json.loads(file[8:begin]).items() if name != "__metadata__"}
        ends = [entry["data_offsets"][1] for entry in entries.values()]
        headers = {name: TensorHeader(entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("its header does not describe tensors") from error
    if len(file) != begin + max(ends, default=0):
        raise ValueError("its header describes more or fewer bytes than there are")
    return headers


def albert_tensors(shape: AlbertShape) -> dict[str, tuple[int, ...]]:
    """Every tensor that a forward pass of `shape` reads, by its name in a checkpoint, with its shape."""
    embedding, hidden, intermediate = shape.embedding_size, shape.hidden_size, shape.intermediate_size
    tensors: dict[str, tuple[int, ...]] = {
        "albert.embeddings.word_embeddings.weight": (shape.vocab_size, embedding),
        "albert.embeddings.position_embeddings.weight": (shape.max_position_embeddings, embedding),
        "albert.embeddings.token_type_embeddings.weight": (shape.type_vocab_size, embedding),
        **_norm("albert.embeddings.LayerNorm", embedding),
        **_dense("albert.encoder.embedding_hidden_mapping_in", hidden, embedding),
        **_dense("albert.pooler", hidden, hidden),
        **_dense("classifier", shape.num_labels, hidden),
    }
    for group, inner in shape.path:
        layer = layer_name(group, inner)
        for part in ("query", "key", "value", "dense"):
            tensors |= _dense(f"{layer}.attention.{part}", hidden, hidden)
        tensors |= _norm(f"{layer}.attention.LayerNorm", hidden)
        tensors |= _dense(f"{layer}.ffn", intermediate, hidden)
        tensors |= _dense(f"{layer}.ffn_output", hidden, intermediate)
        tensors |= _norm(f"{layer}.full_layer_layer_norm", hidden)
    return tensors


def layer_name(group: int, inner: int) -> str:
    """What the names of one inner layer's tensors begin with."""
    return f"albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}"


def refuse_unfit_tensors(shape: AlbertShape, files: Sequence[Mapping[str, TensorHeader]]) -> None:
    """Raises ModelError for a tensor that is missing, of another shape, or not of floating point."""
    found = {name: header for file in files for name, header in file.items()}
    for name, expected in albert_tensors(shape).items():
        header = found.get(name)
        if header is None:
            there = f"not among the {len(found)} tensors of the checkpoint"
            raise ModelError(f"tensor {name} of shape {expected}", there, USE_ANOTHER)
        if header.shape != expected or header.dtype not in FLOATING_POINT:
            there = f"found shape {header.shape} of {header.dtype}"
            raise ModelError(f"tensor {name} of shape {expected} in floating point", there, USE_ANOTHER)


def _dense(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
