"""Models of a few thousand weights, and pairs that they can learn."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AlbertForSequenceClassification, BertConfig, BertModel

from albert_infer.learning.training.learner import Group, Learner
from albert_infer.learning.training.pairs import TrainingPairs, gathered
from albert_infer.preflight.gold import GOLD
from albert_infer.prepare import tokenization
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.schema import HYPOTHESIS, PREMISE, REJECTION, NliLabel
from recipes.builtin.conversion import albert_from_bert, student_from_teacher

NOUNS = ["dogs", "cats", "birds", "horses", "cows", "goats"]
VERBS = ["run", "sleep", "eat", "swim"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "some", "animals", *NOUNS, *VERBS]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Learning:
    """What decides a step, for tests that have no settings of a job."""

    learning_rate: float = 3e-3
    warmup_share: float = 0.06
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    classifier_rate: float = 1.0
    gold_weight: float = 0.5
    seed: int = 0


def learnable_pairs() -> pa.Table:
    """Three pairs for each of 24 premises, labelled by the first word of the hypothesis."""
    rows = [
        {PREMISE: f"{noun} {verb}", HYPOTHESIS: hypothesis, "gold_label": str(label)}
        for noun in NOUNS
        for verb in VERBS
        for label, hypothesis in zip(
            NliLabel, (f"animals {verb}", f"some {noun} sleep", f"no {noun} {verb}"), strict=True
        )
    ]
    return pa.Table.from_pylist(rows)


def tiny_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def training_pairs(pairs: pa.Table | None = None) -> TrainingPairs:
    """The learnable pairs, or others, as tokens."""
    pairs = learnable_pairs() if pairs is None else pairs
    codes = [list(NliLabel).index(NliLabel(label)) for label in pairs["gold_label"].to_pylist()]
    judged = pairs.append_column(REJECTION, pa.nulls(len(pairs), pa.string()))
    judged = judged.append_column("detail", pa.nulls(len(pairs), pa.string()))
    tokenizer = PairTokenizer(
        tiny_tokenizer().to_str(),
        cls_token="[CLS]",  # noqa: S106  (no password)
        sep_token="[SEP]",  # noqa: S106
        max_length=20,
    )
    tokens = tokenization.append_tokens(judged, tokenizer)
    return gathered([tokens.append_column(GOLD, pa.array(codes, pa.int8()))])


def tiny_bert() -> BertModel:
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
        initializer_range=0.3,
    )
    torch.manual_seed(1)
    bert = BertModel(config)
    bert.train(mode=False)
    return bert


def tiny_teacher(dropout: float = 0.1) -> AlbertForSequenceClassification:
    torch.manual_seed(2)
    teacher = albert_from_bert(tiny_bert(), dropout=dropout)
    teacher.train(mode=False)
    return teacher


def tiny_batches() -> list[dict[str, torch.Tensor]]:
    """One batch of inputs in which each word is at each place."""
    rolled = torch.stack([torch.arange(len(WORDS)).roll(shift) for shift in range(len(WORDS))])
    segments = (torch.arange(len(WORDS)) >= len(WORDS) // 2).long().expand(len(WORDS), -1)
    return [{"input_ids": rolled, "attention_mask": torch.ones_like(rolled), "token_type_ids": segments}]


def tiny_student(intermediate_size: int = 16) -> AlbertForSequenceClassification:
    return student_from_teacher(tiny_teacher(), 8, intermediate_size, tiny_batches())


def save_model(model: AlbertForSequenceClassification, folder: Path) -> Path:
    """A checkpoint folder with the tiny tokenizer."""
    model.save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"cls_token": "[CLS]", "sep_token": "[SEP]"}))
    return folder


def learner_of(
    model: AlbertForSequenceClassification,
    *,
    steps: int = 1000,
    teacher: AlbertForSequenceClassification | None = None,
    settings: Learning | None = None,
    group: Group | None = None,
) -> Learner:
    """A learner on the CPU in fp32."""
    more: dict[str, Any] = {} if group is None else {"group": group}
    return Learner(
        model, model, settings or Learning(), steps=steps, device=CPU, autocast=nullcontext, teacher=teacher, **more
    )


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether the two hold the same names and bit-equal values."""
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def all_of(pairs: TrainingPairs) -> Any:
    """The positions of all pairs."""
    return np.arange(len(pairs))
