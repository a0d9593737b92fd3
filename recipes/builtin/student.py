"""The student: a small ALBERT that starts from MiniLM, learns its hidden states, and then the teacher's answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
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
from recipes.builtin.longer import with_longer_premises
from recipes.builtin.soft_labels import classifier_logits
from recipes.builtin.training import Schedule, train

log = logging.getLogger(__name__)

# Pairs that the first student is fitted on: 100,000 tokens for least-squares fits of at most 512 numbers an output.
FITTED_PAIRS: Final = 4096
# The first pairs, with which the student learns the hidden states of MiniLM.
MATCHED_PAIRS: Final = 100_000
# Both distributions are made flatter before they are compared, so that small probabilities count too.
SOFTENING: Final = 2.0
# The weight of the gold label where there is one. The teacher's answer has the rest.
GOLD_WEIGHT: Final = 0.3
NO_GOLD: Final = -1
MATCHING: Final = Schedule(epochs=1, learning_rate=5e-4, classifier_factor=1.0, warmup_steps=50, batch_pairs=64)
SCHEDULE: Final = Schedule(epochs=4, learning_rate=2e-4, classifier_factor=3.0, warmup_steps=200, batch_pairs=64)
# The first pairs, with which the student learns from longer premises.
LONGER_PAIRS: Final = 60_000
LONGER: Final = Schedule(epochs=1, learning_rate=1e-4, classifier_factor=1.0, warmup_steps=50, batch_pairs=64)


@dataclass(frozen=True)
class Lessons:
    """Pairs, the teacher's logits, and the codes of the gold labels or `NO_GOLD`."""

    pairs: EncodedPairs
    logits: torch.Tensor
    gold: torch.Tensor

    def longer(self, seed: int) -> Lessons:
        """The first lessons with longer premises, and the same answers."""
        pairs = with_longer_premises(self.pairs.first(LONGER_PAIRS), seed)
        return Lessons(pairs, self.logits[:LONGER_PAIRS], self.gold[:LONGER_PAIRS])

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


@dataclass(frozen=True)
class Watched:
    """Held-out pairs, and the codes of their gold labels."""

    pairs: EncodedPairs
    gold: torch.Tensor


@dataclass(frozen=True)
class HiddenStates:
    """Pairs, and the model whose hidden states the student learns."""

    pairs: EncodedPairs
    model: AlbertForSequenceClassification

    def loss(self, student: nn.Module, positions: NDArray[np.int64]) -> torch.Tensor:
        """The squared error of the student's hidden states as a share of their squares, the mean over the layers."""
        inputs = padded(self.pairs, positions, segments=True)
        is_token = inputs["attention_mask"].bool()
        with torch.no_grad():
            wanted = self.model.albert(**inputs, output_hidden_states=True).hidden_states
        learned = student.get_submodule("albert")(**inputs, output_hidden_states=True).hidden_states
        errors = [
            (one.float() - other.float())[is_token].square().mean() / other.float()[is_token].square().mean()
            for one, other in zip(learned, wanted, strict=True)
        ]
        return torch.stack(errors).mean()


def student_tokenizer(source: Path) -> Tokenizer:
    """The tokenizer of the BERT in `source`."""
    return Tokenizer.from_file(str(source / "tokenizer.json"))


def encoded_for_student(source: Path, pairs: pa.Table) -> EncodedPairs:
    """The pairs by the student's tokenizer."""
    return encoded_pairs(student_tokenizer(source), pairs[PREMISE].to_pylist(), pairs[HYPOTHESIS].to_pylist())


def whole_model(source: Path, seed: int) -> AlbertForSequenceClassification:
    """The BERT in `source` as an ALBERT. The classifier is new."""
    torch.manual_seed(seed)
    return fast_to_train(albert_from_bert(BertModel.from_pretrained(source, dtype=torch.float32), dropout=0.0))


def first_student(
    whole: AlbertForSequenceClassification, pairs: EncodedPairs, embedding_size: int, intermediate_size: int, seed: int
) -> AlbertForSequenceClassification:
    """A smaller ALBERT that starts near `whole`, fitted on some of the pairs."""
    count = len(pairs.lengths)
    chosen = np.random.default_rng(seed).choice(count, min(count, FITTED_PAIRS), replace=False)
    batches = [padded(pairs, positions, segments=True) for positions in np.split(chosen, range(64, len(chosen), 64))]
    return fast_to_train(student_from_teacher(whole, embedding_size, intermediate_size, batches))


def fast_to_train(model: AlbertForSequenceClassification) -> AlbertForSequenceClassification:
    """The model without torch's fused attention, which spends half of a step in its backward pass on CPUs."""
    model.set_attn_implementation("eager")
    return model


def match_hidden_states(
    student: AlbertForSequenceClassification,
    whole: AlbertForSequenceClassification,
    pairs: EncodedPairs,
    seed: int,
    state: Path,
) -> None:
    """Trains the student to have the hidden states of `whole`, layer by layer."""
    lengths = pairs.lengths[:MATCHED_PAIRS]
    train(student, HiddenStates(pairs, whole).loss, lengths, replace(MATCHING, seed=seed), state)


def train_student(
    student: AlbertForSequenceClassification, lessons: Lessons, watched: Watched, schedule: Schedule, state: Path
) -> None:
    """Trains the student, and logs after each epoch how many of the watched pairs it gets right."""

    def watch(model: nn.Module) -> None:
        logits = classifier_logits(model, watched.pairs, np.arange(len(watched.gold)), segments=True)
        right = (torch.from_numpy(logits).argmax(dim=1) == watched.gold).float().mean().item()
        log.info("%.1f %% of %d held-out pairs are right", 100 * right, len(watched.gold))

    train(student, lessons.loss, lessons.pairs.lengths, schedule, state, watch)


@torch.no_grad()
def average_weights(student: nn.Module, other: nn.Module) -> None:
    """Sets each weight of the student to the mean of both (Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).

    The mean of a model before and after a training keeps more of what both do well than either.
    """
    for one, two in zip(student.parameters(), other.parameters(), strict=True):
        one.lerp_(two, 1 / 2)


def saved_student(folder: Path) -> AlbertForSequenceClassification:
    """The student in `folder`, in full precision."""
    return fast_to_train(AlbertForSequenceClassification.from_pretrained(folder, dtype=torch.float32))


def lessons_of(pairs: EncodedPairs, logits: NDArray[np.float32], gold: pa.Table) -> Lessons:
    """Lessons of pairs whose first ones are the labelled pairs of `gold`."""
    codes = torch.full((len(logits),), NO_GOLD)
    codes[: len(gold)] = gold_codes(gold)
    return Lessons(pairs, torch.from_numpy(logits), codes)
