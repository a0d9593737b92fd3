"""Small random ALBERT checkpoints as transformers saves them, with wiring that shows in the logits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import safetensors.torch
import torch
from transformers import AlbertConfig, AlbertForSequenceClassification
from vocabulary import WORDS

import albert_infer
from albert_infer.schema import Precision

if TYPE_CHECKING:
    import sentencepiece

# Small, and no two sizes alike, so that a tensor in the wrong place does not fit.
SMALL: Mapping[str, object] = {
    "vocab_size": 97,
    "embedding_size": 20,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 72,
    "max_position_embeddings": 40,
    "num_labels": 3,
    "layer_norm_eps": 1e-6,
    # Ten times the usual: with small weights attention is nearly uniform and layers nearly do nothing.
    "initializer_range": 0.2,
}

BUILTIN: Final = Path(albert_infer.__file__).parent / "model" / "builtin" / "checkpoint"
# What an engine on a processor takes.
CPU_PRECISIONS: Final = tuple(precision for precision in Precision if precision is not Precision.FP8)


@dataclass(frozen=True)
class Checkpoint:
    """A saved checkpoint: its folder, what config.json and the safetensors file hold, and the model in memory."""

    folder: Path
    config: dict[str, object]
    weights: bytes
    model: AlbertForSequenceClassification


def random_checkpoint(folder: Path, **config: object) -> Checkpoint:
    """Save a random checkpoint of `SMALL`, changed by `config`, into `folder`; the same weights each time."""
    torch.manual_seed(0)
    model = AlbertForSequenceClassification(AlbertConfig.from_dict({**SMALL, **config}))
    model.eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases start as 0 and norms as 1: a forgotten one would not show
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    model.save_pretrained(folder)
    return Checkpoint(
        folder=folder,
        config=json.loads((folder / "config.json").read_text()),
        weights=(folder / "model.safetensors").read_bytes(),
        model=model,
    )


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Save the checkpoint in `folder` with other weights: `change` gets its tensors by name."""
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


def without_meaning(token_id: int) -> Callable[[dict[str, torch.Tensor]], object]:
    """A change after which a word's embedding is not a number."""
    return lambda tensors: tensors["albert.embeddings.word_embeddings.weight"][token_id].fill_(torch.nan)


def overflow_in_bf16(tensors: dict[str, torch.Tensor]) -> None:
    """A feature near the largest number of fp32, which is infinity in bf16, and which no later layer looks at."""
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0"
    tensors[f"{layer}.ffn.bias"][0] = 3.4e38
    tensors[f"{layer}.ffn_output.weight"][:, 0] = 0


def sentencepiece_model(
    path: Path, *, more_sentences: Sequence[str] = (), **how: Any
) -> sentencepiece.SentencePieceProcessor:
    """A tiny SentencePiece model with ALBERT's special pieces, trained on the words of the tests."""
    # Imported here, because the GPU tests run without it.
    import sentencepiece

    words = [word for word in WORDS if not word.startswith("#")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*(" ".join(pair) for pair in permutations(words, 2)), *more_sentences]),
        model_prefix=str(path.with_suffix("")),
        hard_vocab_limit=False,
        control_symbols=["[CLS]", "[SEP]"],
        user_defined_symbols=["[MASK]"],
        minloglevel=2,
        **{"vocab_size": 50, "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, **how},
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def two_label_checkpoint(
    folder: Path, names: Sequence[str] = ("entailment", "not_entailment"), *, base: Path = BUILTIN
) -> Path:
    """The checkpoint `base` with two outputs called `names`: entailment, and the mean of neutral and contradiction.

    The first output is entailment unless the names are in the other order. Names that say nothing change no weights.
    """
    model = AlbertForSequenceClassification.from_pretrained(base, dtype=torch.float32)
    rows = [0, 1] if names[0] != "not_entailment" else [1, 0]
    with torch.no_grad():
        weights = [torch.stack([each[0], each[1:].mean(dim=0)])[rows] for each in model.classifier.parameters()]
    model.classifier = torch.nn.Linear(model.config.hidden_size, 2)
    model.classifier.weight.data, model.classifier.bias.data = weights
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: number for number, name in enumerate(names)}
    model.save_pretrained(folder)
    for file in base.glob("tokenizer*.json"):
        shutil.copy(file, folder)
    return folder
