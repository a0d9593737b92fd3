"""The checkpoint that every row of the benchmark loads: ALBERT of a given shape with random weights.

Speed depends on the shape and not on what was learned. Knows nothing of who loads it.
"""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer
from transformers import AlbertConfig, AlbertForSequenceClassification

import albert_infer
from albert_infer.schema import NliLabel

BUILTIN_CHECKPOINT: Final = Path(albert_infer.__file__).parent / "model" / "builtin" / "checkpoint"
# The names under which WordPiece tokenizers are saved; a checkpoint has some of them.
TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")

# As the built-in checkpoint, with all layers of one group.
SMALL: Final[Mapping[str, object]] = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "embedding_size": 128,
}
BASE: Final[Mapping[str, object]] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "embedding_size": 128,
}
XXLARGE: Final[Mapping[str, object]] = {
    "hidden_size": 4096,
    "num_hidden_layers": 12,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "embedding_size": 128,
}
# Small enough that tests and the memory run, where the products do not matter, end soon.
TINY: Final[Mapping[str, object]] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "embedding_size": 32,
    # Ten times the usual: with weights as small as 0.02 so small a model answers the same whatever it reads.
    "initializer_range": 0.2,
}
# A sixth of the products of SMALL: a million pairs take two cores minutes, and the device stays the bottleneck.
MINI: Final[Mapping[str, object]] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "intermediate_size": 768,
    "embedding_size": 128,
}
# The built-in checkpoint instead of random weights: its labels are no close calls, so agreement says something.
BUILTIN: Final = "builtin"
# What `--shape` may name besides it.
SHAPES: Final = {"small": SMALL, "base": BASE, "xxlarge": XXLARGE, "mini": MINI, "tiny": TINY}


def tokenizer() -> Tokenizer:
    """The tokenizer that every checkpoint of the benchmark has; neither pads nor cuts."""
    found = Tokenizer.from_file(str(BUILTIN_CHECKPOINT / "tokenizer.json"))
    found.no_padding()
    found.no_truncation()
    return found


def save_checkpoint(folder: Path, sizes: Mapping[str, object]) -> None:
    """Write `folder` as Hugging Face saves it: fp32 safetensors of seed 0, and the built-in checkpoint's tokenizer.

    The answers differ from pair to pair, so that a row of the benchmark that does other work gives itself away.
    """
    torch.manual_seed(0)
    model = AlbertForSequenceClassification(_config(sizes, tokenizer().get_vocab_size()))
    model.eval()  # type: ignore[no-untyped-call]
    _spread_answers(model)
    model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (BUILTIN_CHECKPOINT / name).exists():
            shutil.copy(BUILTIN_CHECKPOINT / name, folder)


def _config(sizes: Mapping[str, object], vocabulary: int) -> AlbertConfig:
    return AlbertConfig.from_dict(
        {
            **sizes,
            "vocab_size": vocabulary,
            "hidden_act": "gelu_new",
            "pad_token_id": 0,
            "id2label": {index: label.value for index, label in enumerate(NliLabel)},
            "label2id": {label.value: index for index, label in enumerate(NliLabel)},
        }
    )


@torch.no_grad()
def _spread_answers(model: AlbertForSequenceClassification) -> None:
    """Give the logits of random texts mean 0 and deviation 1: a random model prefers one label for every text."""
    # 64 texts of 24 tokens, about as long as SNLI's pairs.
    probe_RL = torch.randint(1000, model.config.vocab_size, (64, 24))
    logits_RC = model(input_ids=probe_RL).logits
    model.classifier.weight.div_(logits_RC.std(dim=0).mean())
    model.classifier.bias.sub_(model(input_ids=probe_RL).logits.mean(dim=0))
