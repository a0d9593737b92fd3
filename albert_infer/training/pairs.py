"""Training pairs: read from Parquet, split by premise, encoded, and grouped into batches of like length.

Knows nothing of models. Shapes: B pairs of a batch, L tokens of its longest pair.
"""
# ruff: noqa: N815 - arrays end in their shape

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer

from albert_infer.schema import NliLabel

# The order of the classifier's outputs.
LABEL_NAMES = tuple(label.value for label in NliLabel)

# Batches are sorted by length within runs of this many: enough for little padding, few enough to keep order random.
BATCHES_SORTED_TOGETHER = 40


@dataclass(frozen=True)
class TextPair:
    """A premise, a hypothesis and the index of the gold label in `LABEL_NAMES`."""

    premise: str
    hypothesis: str
    label: int


@dataclass(frozen=True)
class EncodedPair:
    """Unpadded token ids of `[CLS] premise [SEP] hypothesis [SEP]`, their segments, and the label of the text pair."""

    input_ids: list[int]
    token_type_ids: list[int]
    label: int


@dataclass(frozen=True)
class PairBatch:
    """Pairs padded to the longest of them; the mask is 1 on tokens and 0 on padding."""

    input_ids_BL: torch.Tensor
    token_type_ids_BL: torch.Tensor
    attention_mask_BL: torch.Tensor
    labels_B: torch.Tensor


@dataclass(frozen=True)
class Split:
    """Pairs to train on and pairs to watch; no premise is in both."""

    train: list[TextPair]
    dev: list[TextPair]


def read_pairs(path: Path) -> list[TextPair]:
    """The rows of a Parquet file with `premise`, `hypothesis` and `gold_label`, in file order.

    Raises `ValueError` for a `gold_label` that is not in `LABEL_NAMES`.
    """
    columns = pq.read_table(path, columns=["premise", "hypothesis", "gold_label"]).to_pydict()
    rows = zip(columns["premise"], columns["hypothesis"], columns["gold_label"], strict=True)
    return [TextPair(premise, hypothesis, LABEL_NAMES.index(name)) for premise, hypothesis, name in rows]


def split_by_premise(pairs: Iterable[TextPair], dev_percent: int) -> Split:
    """About `dev_percent` of the premises, chosen by a hash of their text, apart from the rest; order is kept."""
    split = Split(train=[], dev=[])
    for pair in pairs:
        held_out = int.from_bytes(hashlib.sha256(pair.premise.encode()).digest()[:8]) % 100 < dev_percent
        (split.dev if held_out else split.train).append(pair)
    return split


def encoded_pairs(pairs: Sequence[TextPair], tokenizer: Tokenizer) -> list[EncodedPair]:
    """One encoded pair per text pair, in order; cut as the tokenizer is set to cut, never padded if it does not pad."""
    encodings = tokenizer.encode_batch([(pair.premise, pair.hypothesis) for pair in pairs])
    return [
        EncodedPair(encoding.ids, encoding.type_ids, pair.label)
        for encoding, pair in zip(encodings, pairs, strict=True)
    ]


def padded_batch(pairs: Sequence[EncodedPair]) -> PairBatch:
    """The pairs as one batch, in order. Padding is token 0, which is `[PAD]` in BERT vocabularies."""
    longest = max(len(pair.input_ids) for pair in pairs)
    padding = [[0] * (longest - len(pair.input_ids)) for pair in pairs]
    together = list(zip(pairs, padding, strict=True))
    return PairBatch(
        input_ids_BL=torch.tensor([pair.input_ids + zeros for pair, zeros in together]),
        token_type_ids_BL=torch.tensor([pair.token_type_ids + zeros for pair, zeros in together]),
        attention_mask_BL=torch.tensor([[1] * len(pair.input_ids) + zeros for pair, zeros in together]),
        labels_B=torch.tensor([pair.label for pair in pairs]),
    )


def length_grouped_batches(lengths: Sequence[int], batch_pairs: int, shuffle: random.Random) -> list[list[int]]:
    """Positions 0..n-1, each in exactly one batch of at most `batch_pairs`, in an order that `shuffle` decides."""
    positions = list(range(len(lengths)))
    shuffle.shuffle(positions)
    run = batch_pairs * BATCHES_SORTED_TOGETHER
    batches: list[list[int]] = []
    for start in range(0, len(positions), run):
        by_length = sorted(positions[start : start + run], key=lambda position: lengths[position])
        batches += [by_length[cut : cut + batch_pairs] for cut in range(0, len(by_length), batch_pairs)]
    shuffle.shuffle(batches)
    return batches
