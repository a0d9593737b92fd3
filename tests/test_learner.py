"""A model learns; who killed it does not show in its weights, nor how many workers shared a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from training_models import (
    CPU,
    Learning,
    all_of,
    learner_of,
    same_weights,
    tiny_student,
    tiny_teacher,
    training_pairs,
)
from transformers import AlbertForSequenceClassification

from albert_infer.learning.training import losses
from albert_infer.learning.training.batches import epoch_batches, padded_batch
from albert_infer.learning.training.learner import KEPT, STATE, Group, Learner, curve_in
from albert_infer.learning.training.losses import BatchSize, Outputs
from albert_infer.learning.training.record import SavedCurve

pytestmark = pytest.mark.usefixtures("one_thread")


def learn(learner: Learner, steps: range, batch_pairs: int = 8) -> None:
    pairs = training_pairs()
    for step in steps:
        epoch, place = divmod(step, -(-len(pairs) // batch_pairs))
        learner.step(step, pairs, epoch_batches(pairs.encoded.lengths, batch_pairs, seed=0, epoch=epoch)[place])


def distilled(student: Outputs, teacher: Outputs, rows: int = 72, gold_weight: float = 0.5) -> float:
    pairs = training_pairs()
    batch = padded_batch(pairs, all_of(pairs)[:rows], CPU)
    size = BatchSize(rows, int(pairs.encoded.lengths[:rows].sum()))
    return losses.distillation_loss(student, teacher, batch, torch.ones(rows), size, gold_weight).item()


def outputs_of(model: AlbertForSequenceClassification, rows: int = 72) -> Outputs:
    pairs = training_pairs()
    with torch.no_grad():
        return losses.outputs(model, padded_batch(pairs, all_of(pairs)[:rows], CPU))


@pytest.mark.computes
def test_it_learns_the_gold_labels() -> None:
    learner, pairs = learner_of(tiny_teacher(), steps=135), training_pairs()
    before = learner.evaluate(pairs)
    learn(learner, range(135))
    after = learner.evaluate(pairs)
    assert before.accuracy < 0.7
    assert after.accuracy > 0.9
    assert after.loss < before.loss
    assert after.pairs == len(pairs)


@pytest.mark.computes
def test_it_learns_from_a_teacher() -> None:
    student, teacher = tiny_student(), tiny_teacher()
    before = distilled(outputs_of(student), outputs_of(teacher))
    learn(learner_of(student, steps=180, teacher=teacher, settings=Learning(5e-3)), range(180))
    assert distilled(outputs_of(student), outputs_of(teacher)) < 0.5 * before


@pytest.mark.parametrize("gold_weight", [0.0, 0.5, 1.0])
def test_a_teacher_that_distils_itself_has_only_the_gold_loss_left(gold_weight: float) -> None:
    found, pairs = outputs_of(tiny_teacher()), training_pairs()
    batch = padded_batch(pairs, all_of(pairs), CPU)
    gold = losses.gold_loss(found, batch, torch.ones(72), BatchSize(72, 1)).item()
    assert distilled(found, found, gold_weight=gold_weight) == pytest.approx(gold_weight * gold, abs=1e-6)


def test_padding_adds_nothing_to_the_distance_of_states() -> None:
    student, teacher = outputs_of(tiny_student()), outputs_of(tiny_teacher())
    pairs = training_pairs()
    padding = padded_batch(pairs, all_of(pairs), CPU).attention_mask_BL == 0
    assert padding.any()
    moved = tuple(hidden + 100 * padding[:, :, None] for hidden in student.hidden_BLH)
    assert distilled(Outputs(student.logits_BC, moved), teacher) == pytest.approx(distilled(student, teacher))


def test_a_teacher_of_another_width_teaches_by_its_answers() -> None:
    student, teacher = outputs_of(tiny_student()), outputs_of(tiny_teacher())
    wider = Outputs(teacher.logits_BC, tuple(hidden.repeat(1, 1, 2) for hidden in teacher.hidden_BLH))
    assert 0 < distilled(student, wider) < distilled(student, teacher)


@pytest.mark.parametrize(("layers", "compared"), [(6, [2, 4, 6]), (12, [4, 8, 12]), (3, [1, 2, 3])])
def test_states_are_compared_at_each_third_of_the_layers(layers: int, compared: list[int]) -> None:
    assert losses.compared_layers(layers) == compared


@pytest.mark.computes
@pytest.mark.parametrize("teacher", [None, tiny_teacher()], ids=["gold", "teacher"])
def test_a_run_that_was_stopped_has_the_weights_of_one_that_was_not(
    tmp_path: Path, teacher: AlbertForSequenceClassification | None
) -> None:
    whole, first, second = (tiny_teacher() for _ in range(3))
    learn(learner_of(whole, teacher=teacher), range(20))
    before = learner_of(first, teacher=teacher)
    learn(before, range(12))
    before.keep()
    curve = SavedCurve(milestones=[], best=-1, kept=-1)
    before.save(tmp_path, curve)
    after = learner_of(second, teacher=teacher)
    assert after.load(tmp_path) == curve == curve_in(tmp_path / STATE)
    learn(after, range(12, 20))
    assert same_weights(whole, second)
    assert not same_weights(first, second)


def test_gold_labels_weigh_as_much_as_is_asked_beside_a_teacher() -> None:
    learned = [tiny_student() for _ in range(3)]
    for student, weight in zip(learned, (0.0, 0.0, 1.0), strict=True):
        learn(learner_of(student, teacher=tiny_teacher(), settings=Learning(gold_weight=weight)), range(1))
    assert same_weights(learned[0], learned[1])
    assert not same_weights(learned[0], learned[2])


def test_a_classifier_learns_as_much_faster_as_is_asked() -> None:
    start, one, other = (tiny_teacher(dropout=0.0).state_dict(), tiny_teacher(dropout=0.0), tiny_teacher(dropout=0.0))
    learn(learner_of(one, settings=Learning(weight_decay=0.0)), range(1))
    learn(learner_of(other, settings=Learning(weight_decay=0.0, classifier_rate=10.0)), range(1))
    for name, before in start.items():
        moved, expected = (each.state_dict()[name] - before for each in (other, one))
        torch.testing.assert_close(moved, expected * (10.0 if name.startswith("classifier.") else 1.0))


def test_another_seed_gives_other_weights() -> None:
    one, other = tiny_teacher(), tiny_teacher()
    learn(learner_of(one), range(3))
    learn(learner_of(other, settings=Learning(seed=1)), range(3))
    assert not same_weights(one, other)


def test_what_was_best_is_kept_apart_from_what_comes_after(tmp_path: Path) -> None:
    model = tiny_teacher()
    learner = learner_of(model)
    learn(learner, range(2))
    best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learner.keep()
    learn(learner, range(2, 4))
    learner.save(tmp_path, SavedCurve(milestones=[], best=-1, kept=-1))
    again = tiny_teacher()
    again.load_state_dict(safetensors.torch.load_file(tmp_path / KEPT))
    assert all(torch.equal(best[name], tensor) for name, tensor in again.state_dict().items())
    assert not same_weights(model, again)


@pytest.mark.computes
@pytest.mark.parametrize("batch", [8, 7, 1], ids=["even", "uneven", "fewer pairs than workers"])
@pytest.mark.parametrize("teacher", [None, tiny_teacher()], ids=["gold", "teacher"])
def test_gradients_of_two_workers_average_to_that_of_one(
    batch: int, teacher: AlbertForSequenceClassification | None
) -> None:
    alone = gradient_of(Group(0, 1, lambda tensor: tensor), batch, teacher)
    parts = [gradient_of(Group(rank, 2, lambda tensor: tensor), batch, teacher) for rank in range(2)]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, alone, rtol=1e-4, atol=1e-6)


def gradient_of(group: Group, batch: int, teacher: AlbertForSequenceClassification | None) -> torch.Tensor:
    """What one worker of the group adds to the first step, all parameters in a row."""
    # Without dropout, which every worker draws for itself, and without cutting, which would hide a wrong scale.
    model, found = tiny_student(), []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda changed: found.append((id(changed), changed.grad.clone())))
    settings = Learning(max_gradient_norm=1e9)
    learner_of(model, teacher=teacher, settings=settings, group=group).step(0, training_pairs(), np.arange(batch))
    # Hooks are called in the order of the backward pass, which need not be that of the parameters.
    by_parameter = dict(found)
    return torch.cat([by_parameter[id(parameter)].flatten() for parameter in model.parameters()])
