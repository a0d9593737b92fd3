"""The sizes of an ALBERT architecture, read from a config.json. Imports no torch, and opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from albert_infer.errors import ModelError

# The names in transformers' ACT2FN that encoders use, without learned parameters. `engine.activations` has a function
# for each, and tests/test_activations.py compares it with that of transformers.
ACTIVATIONS: Final = frozenset(
    {
        "gelu",
        "gelu_10",
        "gelu_accurate",
        "gelu_fast",
        "gelu_new",
        "gelu_python",
        "gelu_python_tanh",
        "gelu_pytorch_tanh",
        "hardswish",
        "laplace",
        "leaky_relu",
        "linear",
        "mish",
        "quick_gelu",
        "relu",
        "relu2",
        "relu6",
        "sigmoid",
        "silu",
        "swish",
        "tanh",
    }
)

# AlbertConfig leaves a key out of config.json when it has this value.
DEFAULT_SIZES: Final = {
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_hidden_layers": 12,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
# More than any ALBERT has; the defaults above are the largest one. A config.json with more is a mistake, or an attack
# on the memory of its readers.
MOST_SIZES: Final = {
    # XLM-V has the most words of all encoders in use, 901,629.
    "vocab_size": 2**20,
    "embedding_size": 2**14,
    "hidden_size": 2**16,
    "num_hidden_layers": 4096,
    "num_hidden_groups": 4096,
    "inner_group_num": 4096,
    "num_attention_heads": 4096,
    # Usually four times the hidden size.
    "intermediate_size": 2**18,
    # Encoders for long texts read 8,192 to 32,768 tokens.
    "max_position_embeddings": 2**16,
    "type_vocab_size": 4096,
}
# Layers times the inner layers of each: the steps of a forward pass. Listing their tensors takes a twentieth of a
# second.
MOST_STEPS: Final = 4096
# Labelling needs three or two labels; image classifiers have 1,000.
MOST_LABELS: Final = 4096
DEFAULT_ACTIVATION: Final = "gelu_new"
DEFAULT_LAYER_NORM_EPS: Final = 1e-12
# PreTrainedConfig leaves `id2label` out for two labels.
DEFAULT_LABELS: Final = 2

ARCHITECTURE: Final = "AlbertForSequenceClassification"
USE_ANOTHER: Final = f"use a checkpoint of {ARCHITECTURE} as transformers saves it"


@dataclass(frozen=True)
class AlbertShape:
    """The sizes that define tensors and layers. `from_config` accepts only shapes that the engine can run."""

    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_hidden_layers: int
    num_hidden_groups: int
    inner_group_num: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    num_labels: int
    hidden_act: str
    layer_norm_eps: float

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> AlbertShape:
        """Read the shape from a parsed config.json. Missing keys have the defaults of transformers.

        Raises ModelError for a config that the engine would compute differently from transformers, and for a size above
        MOST_SIZES, MOST_STEPS or MOST_LABELS.
        """
        _refuse_other_architectures(config)
        shape = cls(
            **{name: _count(config, name, default, MOST_SIZES[name]) for name, default in DEFAULT_SIZES.items()},
            num_labels=_num_labels(config),
            hidden_act=_activation(config),
            layer_norm_eps=_layer_norm_eps(config),
        )
        _refuse_contradictions(shape)
        return shape

    @property
    def head_size(self) -> int:
        """Columns of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def path(self) -> tuple[tuple[int, int], ...]:
        """(group, inner layer) of every layer of a forward pass, first to last."""
        # A division in floating point, as in transformers. It decides where a group begins if the groups do not divide
        # the layers.
        layers_per_group = self.num_hidden_layers / self.num_hidden_groups
        groups = (int(layer / layers_per_group) for layer in range(self.num_hidden_layers))
        return tuple((group, inner) for group in groups for inner in range(self.inner_group_num))


def found_text(value: object) -> str:
    """A value of a config.json for a message, truncated because it may be megabytes."""
    return f"found {value!r:.100}"


def _refuse_other_architectures(config: Mapping[str, object]) -> None:
    if config.get("model_type") != "albert":
        raise ModelError("config.json model_type 'albert'", found_text(config.get("model_type")), USE_ANOTHER)
    architectures = config.get("architectures")
    # Without the key the tensors decide: without a classifier there is no tensor classifier.weight.
    if architectures is not None and architectures != [ARCHITECTURE]:
        raise ModelError(f"config.json architectures [{ARCHITECTURE!r}]", found_text(architectures), USE_ANOTHER)
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise ModelError("config.json position_embedding_type 'absolute'", found_text(positions), USE_ANOTHER)


def _count(config: Mapping[str, object], name: str, default: int, most: int) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ModelError(f"config.json {name} as a whole number from 1 to {most:,}", found_text(value), USE_ANOTHER)
    return value


def _num_labels(config: Mapping[str, object]) -> int:
    names = config.get("id2label")
    if names is None:
        return _count(config, "num_labels", DEFAULT_LABELS, MOST_LABELS)
    if not isinstance(names, Mapping) or not 1 <= len(names) <= MOST_LABELS:
        asked = f"config.json id2label as an object with a name for each label, {MOST_LABELS:,} at most"
        raise ModelError(asked, found_text(names), USE_ANOTHER)
    return len(names)


def _activation(config: Mapping[str, object]) -> str:
    name = config.get("hidden_act", DEFAULT_ACTIVATION)
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ModelError(
            f"config.json hidden_act as one of {', '.join(sorted(ACTIVATIONS))}", found_text(name), USE_ANOTHER
        )
    return name


def _layer_norm_eps(config: Mapping[str, object]) -> float:
    value = config.get("layer_norm_eps", DEFAULT_LAYER_NORM_EPS)
    # Negated, so that NaN is refused too.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ModelError("config.json layer_norm_eps as a number from 0 to 1", found_text(value), USE_ANOTHER)
    return float(value)


def _refuse_contradictions(shape: AlbertShape) -> None:
    if shape.hidden_size % shape.num_attention_heads:
        raise ModelError(
            "config.json num_attention_heads as a divisor of hidden_size",
            f"found {shape.num_attention_heads} heads and hidden_size {shape.hidden_size}",
            USE_ANOTHER,
        )
    if shape.type_vocab_size < 2:
        raise ModelError("config.json type_vocab_size of 2, for premise and hypothesis", "problem 1", USE_ANOTHER)
    steps = shape.num_hidden_layers * shape.inner_group_num
    if steps > MOST_STEPS:
        asked = f"config.json num_hidden_layers times inner_group_num of {MOST_STEPS:,} at most"
        problem = f"found {shape.num_hidden_layers:,} layers of {shape.inner_group_num:,} inner layers each"
        raise ModelError(asked, problem, USE_ANOTHER)
    if shape.num_hidden_groups > shape.num_hidden_layers:
        problem = f"found {shape.num_hidden_groups:,} groups for {shape.num_hidden_layers:,} layers: one is empty"
        raise ModelError("config.json num_hidden_groups of at most num_hidden_layers", problem, USE_ANOTHER)
