"""The student: a small ALBERT that starts from MiniLM and learns the teacher's stored answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from transformers import AlbertForSequenceClassification, BertModel

from albert_infer.schema import HYPOTHESIS, PREMISE
from recipes.builtin.conversion import albert_from_bert, student_from_teacher
from recipes.builtin.encoding import EncodedPairs, encoded_pairs, padded
from recipes.builtin.gold import gold_codes
from recipes.builtin.soft_labels import classifier_logits
from recipes.builtin.training import Schedule, train

log = logging.getLogger(__name__)

# Tokens that the student's embeddings are fitted on: enough for a least-squares fit of 129 numbers an output.
FITTED_TOKENS: Final = 200_000
# Both distributions are made flatter before they are compared, so that small probabilities count too.
SOFTENING: Final = 2.0
# The weight of the gold label where there is one. The teacher's answer has the rest.
GOLD_WEIGHT: Final = 0.3
NO_GOLD: Final = -1
SCHEDULE: Final = Schedule(epochs=5, learning_rate=3e-4, classifier_factor=3.0, warmup_steps=500, batch_pairs=64)


@dataclass(frozen=True)
class Lessons:
    """Pairs, the teacher's logits, and the codes of the gold labels or `NO_GOLD`."""

    pairs: EncodedPairs
    logits: torch.Tensor
    gold: torch.Tensor

    def loss(self, student: nn.Module, positions: NDArray[np.int64]) -> torch.Tensor:
        """The mean over the pairs at `positions` of the divergence from the teacher and from the gold label."""
        at = torch.from_numpy(positions)
        logits = student(**padded(self.pairs, positions, segments=True)).logits.float()
        taught = nn.functional.log_softmax(self.logits[at] / SOFTENING, dim=1)
        learned = nn.functional.log_softmax(logits / SOFTENING, dim=1)
        divergence = nn.functional.kl_div(learned, taught, log_target=True, reduction="none").sum(dim=1) * SOFTENING**2
        entropy = nn.functional.cross_entropy(logits, self.gold[at], ignore_index=NO_GOLD, reduction="none")
        gold_weight = GOLD_WEIGHT * (self.gold[at] != NO_GOLD)
        return ((1 - gold_weight) * divergence + gold_weight * entropy).mean()


def student_tokenizer(source: Path) -> Tokenizer:
    """The tokenizer of the BERT in `source`."""
    return Tokenizer.from_file(str(source / "tokenizer.json"))


def encoded_for_student(source: Path, pairs: pa.Table) -> EncodedPairs:
    """The pairs by the student's tokenizer."""
    return encoded_pairs(student_tokenizer(source), pairs[PREMISE].to_pylist(), pairs[HYPOTHESIS].to_pylist())


def first_student(
    source: Path, pairs: EncodedPairs, embedding_size: int, groups: int, seed: int
) -> AlbertForSequenceClassification:
    """A small ALBERT that starts near the BERT in `source`. The classifier is new."""
    torch.manual_seed(seed)
    whole = albert_from_bert(BertModel.from_pretrained(source, dtype=torch.float32), dropout=0.0)
    tokens = torch.from_numpy(pairs.ids[:FITTED_TOKENS].astype(np.int64))
    student = student_from_teacher(whole, embedding_size, groups, tokens)
    # torch's fused attention spends half of a step in its backward pass on CPUs.
    student.set_attn_implementation("eager")
    return student


def train_student(
    student: AlbertForSequenceClassification,
    lessons: Lessons,
    watched: EncodedPairs,
    watched_gold: torch.Tensor,
    schedule: Schedule,
    state: Path,
) -> None:
    """Trains the student, and logs after each epoch how many of the watched pairs it gets right."""

    def watch(model: nn.Module) -> None:
        logits = classifier_logits(model, watched, np.arange(len(watched.lengths)), segments=True)
        right = (torch.from_numpy(logits).argmax(dim=1) == watched_gold).float().mean().item()
        log.info("%.1f %% of %d held-out pairs are right", 100 * right, len(watched_gold))

    train(student, lessons.loss, lessons.pairs.lengths, schedule, state, watch)


def lessons_of(pairs: EncodedPairs, logits: NDArray[np.float32], gold: pa.Table) -> Lessons:
    """Lessons of pairs whose first ones are the labelled pairs of `gold`."""
    codes = torch.full((len(logits),), NO_GOLD)
    codes[: len(gold)] = gold_codes(gold)
    return Lessons(pairs, torch.from_numpy(logits), codes)
