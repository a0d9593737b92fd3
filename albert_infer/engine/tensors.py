"""The tensors that a shape needs, and those that safetensors files say they hold. Imports no torch; reads no weight.

The format: 8 bytes with the length of a JSON header, the header with each tensor's type, shape and place, the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from albert_infer.common.json_input import parsed_json
from albert_infer.engine.shape import USE_ANOTHER, AlbertShape
from albert_infer.errors import ModelError

# By name, with the bytes of a number. Quantised ones would need scales, which no tensor of ALBERT has.
FLOATING_POINT: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# A tensor takes about 150, and an ALBERT has 25.
MAX_HEADER_BYTES: Final = 2 * 2**20
# ALBERT has vectors and matrices; the product of 100,000 sizes would take seconds.
MAX_DIMENSIONS: Final = 8
NO_TENSORS: Final = "its header does not describe tensors"
# What pretraining leaves beside the encoder.
PRETRAINING_HEADS: Final = ("predictions.", "sop_classifier.")
# What transformers kept beside the weights before release 4.31: the numbers 0, 1, 2, …
POSITIONS: Final = "embeddings.position_ids"
# What an encoder may lack: a new model has it too.
HEADS: Final = ("classifier.", "albert.pooler.")
# What DataParallel, torch.compile and Lightning put before the name of each tensor.
WRAPPERS: Final = ("module.", "_orig_mod.", "model.")
_Tensor = TypeVar("_Tensor")


@dataclass(frozen=True)
class TensorHeader:
    """What a file says of a tensor; `dtype` as the format names it."""

    dtype: str
    shape: tuple[int, ...]


def tensor_headers(file: bytes) -> dict[str, TensorHeader]:
    """The tensors of one safetensors file. Raises ValueError for a file that is cut off or is none."""
    header_bytes = int.from_bytes(file[:8], "little")
    begin = 8 + header_bytes
    # Of a file that is none these eight bytes are any number.
    if begin > len(file) or header_bytes > MAX_HEADER_BYTES:
        found = f"its header is to have {header_bytes:,} bytes"
        raise ValueError(f"{found}: it has {len(file):,} in all, and at most {MAX_HEADER_BYTES:,} are read")
    try:
        entries = parsed_json(file[8:begin], max_bytes=MAX_HEADER_BYTES)
    except ValueError as error:
        raise ValueError(f"its header cannot be read: {error}") from error
    listed = entries.items() if isinstance(entries, dict) else [("", entries)]
    tensors = {name: _tensor(entry) for name, entry in listed if name != "__metadata__"}
    if len(file) != begin + max((end for _, end in tensors.values()), default=0):
        raise ValueError("its header describes more or fewer bytes than there are")
    return {name: header for name, (header, _) in tensors.items()}


def _tensor(entry: Any) -> tuple[TensorHeader, int]:
    """A tensor of a header, and where its bytes end."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if (
            len(shape) <= MAX_DIMENSIONS
            and all(isinstance(size, int) and size >= 0 for size in shape)
            and 0 <= begin <= end
        ):
            if dtype in FLOATING_POINT and end - begin != math.prod(shape) * FLOATING_POINT[dtype]:
                raise ValueError("its header gives a tensor more or fewer bytes than its shape takes")
            return TensorHeader(dtype, tuple(shape)), end
        case _:
            raise ValueError(NO_TENSORS)


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


def encoder_names(weights: Mapping[str, _Tensor]) -> dict[str, _Tensor]:
    """The tensors under the names that they have below a classifier; what is no part of the encoder is left out."""
    kept = {
        name: tensor
        for name, tensor in weights.items()
        if not (name.startswith(PRETRAINING_HEADS) or name.endswith(POSITIONS))
    }
    if any(name.startswith("albert.") for name in kept):
        return kept
    return {name if name.startswith("classifier.") else f"albert.{name}": tensor for name, tensor in kept.items()}


def refuse_other_encoder(shape: AlbertShape, sizes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raises ModelError where the `sizes` of tensors, called as `encoder_names` has them, are not those of `shape`."""
    for name, size in albert_tensors(shape).items():
        found = sizes.get(name)
        if not name.startswith(HEADS) and found != size:
            there = f"not among its {len(sizes):,} tensors" if found is None else f"size mismatch: it has {found}"
            asked = f"model {source} with tensor {name} of shape {size}"
            raise ModelError(asked, there, "give weights of an ALBERT that fit its config.json")


def wrapper_of(names: Collection[str]) -> str:
    """What wrappers put before all of these names: `module.`, `module._orig_mod.`; empty where they put nothing."""
    wrapper = ""
    while found := next((w for w in WRAPPERS if names and all(name.startswith(wrapper + w) for name in names)), ""):
        wrapper += found
    return wrapper


def _dense(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
