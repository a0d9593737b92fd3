"""The tensors that a shape needs, and the headers of safetensors files. Imports no torch, and reads no weight.

The format: 8 bytes with the length of a JSON header; the header with each tensor's type, shape and offsets; the data.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from albert_infer.common.json_input import parsed_json
from albert_infer.engine.shape import USE_ANOTHER, AlbertShape
from albert_infer.errors import ModelError

# Types by name, with the bytes of a number. Quantised types would need scales, which ALBERT checkpoints do not have.
FLOATING_POINT: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# A tensor takes about 150 bytes, and an ALBERT has 25 tensors.
MAX_HEADER_BYTES: Final = 2 * 2**20
# ALBERT has vectors and matrices. The product of 100,000 sizes would take seconds.
MAX_DIMENSIONS: Final = 8
NO_TENSORS: Final = "its header does not describe tensors"
# Tensors of pretraining that are not part of the encoder.
PRETRAINING_HEADS: Final = ("predictions.", "sop_classifier.")
# Not weights, but the numbers 0, 1, 2, …, saved by transformers before release 4.31.
POSITIONS: Final = "embeddings.position_ids"
# Tensors that an encoder may lack. A new model initialises them.
HEADS: Final = ("classifier.", "albert.pooler.")
# Prefixes of tensor names, from DataParallel, torch.compile and Lightning.
WRAPPERS: Final = ("module.", "_orig_mod.", "model.")
_Tensor = TypeVar("_Tensor")


@dataclass(frozen=True)
class TensorHeader:
    """The header of a tensor. `dtype` is its name in the format."""

    dtype: str
    shape: tuple[int, ...]


def tensor_headers(file: bytes) -> dict[str, TensorHeader]:
    """The tensor headers of a safetensors file. Raises ValueError for a truncated file, or one in another format."""
    header_bytes = int.from_bytes(file[:8], "little")
    begin = 8 + header_bytes
    # In a file of another format these eight bytes are an arbitrary number.
    if begin > len(file) or header_bytes > MAX_HEADER_BYTES:
        problem = f"its first 8 bytes announce a header of {header_bytes:,} bytes"
        raise ValueError(f"{problem}: the file has {len(file):,} bytes, and a header at most {MAX_HEADER_BYTES:,}")
    try:
        entries = parsed_json(file[8:begin], max_bytes=MAX_HEADER_BYTES)
    except ValueError as error:
        raise ValueError(f"its header cannot be read: {error}") from error
    listed = entries.items() if isinstance(entries, dict) else [("", entries)]
    tensors = {name: _tensor(entry) for name, entry in listed if name != "__metadata__"}
    if len(file) != begin + max((end for _, end in tensors.values()), default=0):
        raise ValueError("its header describes more or fewer bytes than the file has")
    return {name: header for name, (header, _) in tensors.items()}


def _tensor(entry: Any) -> tuple[TensorHeader, int]:
    """A tensor header, and the offset where its bytes end."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if (
            len(shape) <= MAX_DIMENSIONS
            and all(isinstance(size, int) and size >= 0 for size in shape)
            and 0 <= begin <= end
        ):
            if dtype in FLOATING_POINT and end - begin != math.prod(shape) * FLOATING_POINT[dtype]:
                raise ValueError("its header gives a tensor more or fewer bytes than its shape needs")
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
    """The prefix of the tensor names of one inner layer."""
    return f"albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}"


def refuse_unfit_tensors(shape: AlbertShape, files: Sequence[Mapping[str, TensorHeader]]) -> None:
    """Raises ModelError for a tensor that is missing, of another shape, or not of floating point."""
    headers = {name: header for file in files for name, header in file.items()}
    for name, expected in albert_tensors(shape).items():
        header = headers.get(name)
        if header is None:
            problem = f"not among the {len(headers)} tensors of the checkpoint"
            raise ModelError(f"tensor {name} of shape {expected}", problem, USE_ANOTHER)
        if header.shape != expected or header.dtype not in FLOATING_POINT:
            problem = f"found shape {header.shape} of {header.dtype}"
            raise ModelError(f"tensor {name} of shape {expected} in floating point", problem, USE_ANOTHER)


def encoder_names(weights: Mapping[str, _Tensor]) -> dict[str, _Tensor]:
    """The tensors of encoder and classifier, with the names of an ALBERT classifier. Other tensors are left out."""
    encoder = {
        name: tensor
        for name, tensor in weights.items()
        if not (name.startswith(PRETRAINING_HEADS) or name.endswith(POSITIONS))
    }
    if any(name.startswith("albert.") for name in encoder):
        return encoder
    return {name if name.startswith("classifier.") else f"albert.{name}": tensor for name, tensor in encoder.items()}


def refuse_other_encoder(shape: AlbertShape, sizes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Raises ModelError if the `sizes` of tensors, by the names of `encoder_names`, differ from those of `shape`."""
    for name, size in albert_tensors(shape).items():
        actual = sizes.get(name)
        if not name.startswith(HEADS) and actual != size:
            problem = f"not among its {len(sizes):,} tensors" if actual is None else f"size mismatch: it has {actual}"
            asked = f"model {source} with tensor {name} of shape {size}"
            raise ModelError(asked, problem, "give weights of an ALBERT that fit its config.json")


def wrapper_of(names: Collection[str]) -> str:
    """The prefix of wrappers that all names share, as `module.` or `module._orig_mod.`; empty if there is none."""
    wrapper = ""
    while prefix := next((w for w in WRAPPERS if names and all(name.startswith(wrapper + w) for name in names)), ""):
        wrapper += prefix
    return wrapper


def _dense(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
