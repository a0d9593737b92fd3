"""The recipe's own training loop: a killed run ends with the same weights, and the student learns from answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn
from training_models import learnable_pairs, same_weights, tiny_student, tiny_teacher, tiny_tokenizer

from albert_infer.schema import HYPOTHESIS, PREMISE
from recipes.builtin import soft_labels
from recipes.builtin.encoding import EncodedPairs, encoded_pairs, padded
from recipes.builtin.gold import gold_codes
from recipes.builtin.longer import with_longer_premises
from recipes.builtin.soft_labels import classifier_logits, stored_logits
from recipes.builtin.student import NO_GOLD, HiddenStates, Lessons, average_weights, lessons_of
from recipes.builtin.training import Schedule, train

SCHEDULE = Schedule(
    epochs=2, learning_rate=3e-3, classifier_factor=3.0, warmup_steps=2, batch_pairs=16, save_seconds=0.0
)

pytestmark = pytest.mark.usefixtures("one_thread")


class KilledError(Exception):
    """In place of a kill."""


def encoded(pairs: pa.Table | None = None, tokenizer: Tokenizer | None = None) -> EncodedPairs:
    pairs = learnable_pairs() if pairs is None else pairs
    return encoded_pairs(tokenizer or tiny_tokenizer(), pairs[PREMISE].to_pylist(), pairs[HYPOTHESIS].to_pylist())


def gold_loss(
    pairs: EncodedPairs, killed_at: int | None = None
) -> Callable[[nn.Module, NDArray[np.int64]], torch.Tensor]:
    codes = gold_codes(learnable_pairs())
    calls = iter(range(10_000))

    def loss(model: nn.Module, positions: NDArray[np.int64]) -> torch.Tensor:
        if next(calls) == killed_at:
            raise KilledError
        logits = model(**padded(pairs, positions, segments=True)).logits
        return nn.functional.cross_entropy(logits.float(), codes[torch.from_numpy(positions)])

    return loss


@pytest.mark.computes
@pytest.mark.parametrize("killed_at", [1, 4, 7])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, killed_at: int) -> None:
    pairs = encoded()
    whole, killed, resumed = (tiny_teacher(dropout=0.2) for _ in range(3))
    train(whole, gold_loss(pairs), pairs.lengths, SCHEDULE, tmp_path / "whole.state")
    with pytest.raises(KilledError):
        train(killed, gold_loss(pairs, killed_at), pairs.lengths, SCHEDULE, tmp_path / "state")
    train(resumed, gold_loss(pairs), pairs.lengths, SCHEDULE, tmp_path / "state")
    assert same_weights(whole, resumed)
    assert not same_weights(whole, killed)
    assert not resumed.training


@pytest.mark.computes
def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    pairs = encoded()
    first, second = tiny_teacher(), tiny_teacher()
    train(first, gold_loss(pairs), pairs.lengths, SCHEDULE, tmp_path / "state")
    train(second, gold_loss(pairs, killed_at=0), pairs.lengths, SCHEDULE, tmp_path / "state")
    assert same_weights(first, second)


@pytest.mark.computes
def test_the_watcher_sees_the_model_after_each_epoch_without_dropout(tmp_path: Path) -> None:
    pairs, seen = encoded(), []
    train(
        tiny_teacher(),
        gold_loss(pairs),
        pairs.lengths,
        SCHEDULE,
        tmp_path / "state",
        lambda model: seen.append(model.training),
    )
    assert seen == [False, False]


def test_the_rate_rises_and_then_falls_to_zero() -> None:
    factors = [SCHEDULE.rate_factor(step, 6) for step in range(6)]
    assert factors == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_a_batch_is_padded_and_has_the_segments_of_the_pair() -> None:
    pairs = encoded()
    alone = padded(pairs, np.asarray([0]), segments=True)
    assert set(padded(pairs, np.asarray([0]), segments=False)) == {"input_ids", "attention_mask"}
    assert alone["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]  # [CLS] dogs run [SEP] animals run [SEP]
    batch = padded(pairs, np.asarray([1, 0]), segments=True)
    assert batch["input_ids"][1, :7].tolist() == alone["input_ids"][0].tolist()
    assert batch["attention_mask"].sum(dim=1).tolist() == [8, 7]
    assert batch["input_ids"][1, 7:].tolist() == [0]


def texts(pairs: EncodedPairs, at: int) -> tuple[list[int], list[int]]:
    """The ids of premise and hypothesis of a pair, without the special tokens."""
    ids = pairs.ids[pairs.offsets[at] : pairs.offsets[at + 1]].tolist()
    cut = int(pairs.premise_tokens[at])
    assert (ids[0], ids[cut - 1], ids[-1]) == (2, 3, 3)  # [CLS] premise [SEP] hypothesis [SEP]
    return ids[1 : cut - 1], ids[cut:-1]


def test_longer_premises_have_whole_premises_of_other_pairs_around_their_own() -> None:
    pairs = encoded()
    longer = with_longer_premises(pairs, seed=0)
    own = [texts(pairs, at) for at in range(len(pairs.lengths))]
    premises, added = {tuple(premise) for premise, _ in own}, set()
    for at, (premise, hypothesis) in enumerate(own):
        found, same = texts(longer, at)
        assert same == hypothesis
        sentences = {tuple(found[start : start + 2]) for start in range(0, len(found), 2)}  # each premise has two words
        assert tuple(premise) in sentences
        assert sentences <= premises
        added.add(len(found) // 2 - 1)
    assert added == {0, 1, 2}
    assert np.array_equal(with_longer_premises(pairs, seed=0).ids, longer.ids)
    assert not np.array_equal(with_longer_premises(pairs, seed=1).ids, longer.ids)


def test_no_longer_premise_makes_a_pair_that_is_too_long() -> None:
    table = pa.table({PREMISE: ["dogs run " * 30] * 20, HYPOTHESIS: ["dogs sleep"] * 20})
    longer = with_longer_premises(encoded(table), seed=0)
    assert set(longer.lengths.tolist()) == {65, 125}  # two premises of 60 words fit into 128 tokens, three do not
    assert all(texts(longer, at)[1] == texts(encoded(table), at)[1] for at in range(20))


def test_the_average_of_two_students_is_the_mean_of_each_weight() -> None:
    student, other = tiny_student(), tiny_student()
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1)
    wanted = {name: value + 0.5 for name, value in student.state_dict().items() if value.is_floating_point()}
    average_weights(student, other)
    found = student.state_dict()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)


def test_longer_lessons_keep_their_answers() -> None:
    logits = np.arange(3 * len(learnable_pairs()), dtype=np.float32).reshape(-1, 3)
    lessons = lessons_of(encoded(), logits, learnable_pairs().slice(0, 5))
    longer = lessons.longer(seed=0)
    assert torch.equal(longer.logits, lessons.logits)
    assert torch.equal(longer.gold, lessons.gold)
    assert longer.pairs.lengths.sum() > lessons.pairs.lengths.sum()


def test_stored_answers_are_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_labels, "PAIRS_OF_A_PART", 20)
    pairs, loads = encoded(), []

    def load() -> nn.Module:
        loads.append(1)
        return Untyped(tiny_student())

    first = stored_logits(load, pairs, tmp_path)
    (tmp_path / "0002.npy").unlink()
    second = stored_logits(load, pairs, tmp_path)
    assert len(loads) == 2
    assert np.array_equal(first, second)
    assert len(stored_logits(lambda: pytest.fail("asked"), pairs, tmp_path)) == len(pairs.lengths)
    alone = classifier_logits(tiny_student(), pairs, np.arange(len(pairs.lengths)), segments=False)
    assert np.allclose(first, alone, atol=0.05)


class Untyped(nn.Module):
    """A model that is asked without segments, as the teacher is."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.config, self.model = model.config, model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        """As a teacher is called."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask)


def test_a_student_that_agrees_with_teacher_and_gold_has_little_loss() -> None:
    pairs, student = encoded(), tiny_student()
    positions = np.arange(len(pairs.lengths))
    logits = classifier_logits(student, pairs, positions, segments=True)
    agreeing = Lessons(pairs, torch.from_numpy(logits), torch.full((len(logits),), NO_GOLD))
    with torch.no_grad():
        assert agreeing.loss(student, positions).item() < 1e-3
        assert Lessons(pairs, torch.from_numpy(-logits), agreeing.gold).loss(student, positions).item() > 1e-2


def test_a_model_with_the_same_hidden_states_has_no_matching_loss() -> None:
    pairs, whole = encoded(), tiny_teacher()
    positions = np.arange(len(pairs.lengths))
    with torch.no_grad():
        assert HiddenStates(pairs, whole).loss(whole, positions).item() == 0
        assert HiddenStates(pairs, whole).loss(tiny_student(), positions).item() > 1e-3


@pytest.mark.computes
def test_matching_brings_the_hidden_states_nearer(tmp_path: Path) -> None:
    pairs, whole, student = encoded(), tiny_teacher(), tiny_student()
    states, positions = HiddenStates(pairs, whole), np.arange(len(pairs.lengths))
    with torch.no_grad():
        before = states.loss(student, positions).item()
    train(student, states.loss, pairs.lengths, replace(SCHEDULE, epochs=10), tmp_path / "state")
    with torch.no_grad():
        assert states.loss(student, positions).item() < 0.5 * before


def test_only_the_first_pairs_have_gold_labels() -> None:
    gold = learnable_pairs().slice(0, 3)
    lessons = lessons_of(encoded(), np.zeros((len(learnable_pairs()), 3), np.float32), gold)
    assert lessons.gold.tolist() == [0, 1, 2] + [NO_GOLD] * (len(learnable_pairs()) - 3)


@pytest.mark.computes
def test_the_student_learns_what_the_teacher_answers(tmp_path: Path) -> None:
    pairs, student = encoded(), tiny_student()
    codes = gold_codes(learnable_pairs())
    logits = 6 * nn.functional.one_hot(codes, 3).float().numpy()
    lessons = lessons_of(pairs, logits, learnable_pairs().slice(0, 30))
    schedule = Schedule(epochs=40, learning_rate=3e-3, classifier_factor=1.0, warmup_steps=5, batch_pairs=16)
    train(student, lessons.loss, pairs.lengths, schedule, tmp_path / "state")
    answers = classifier_logits(student, pairs, np.arange(len(codes)), segments=True)
    assert (answers.argmax(axis=1) == codes.numpy()).mean() > 0.9
