"""A BERT becomes an ALBERT that computes the same, and a student starts near its teacher."""

from __future__ import annotations

import pytest
import torch
from training_models import CPU, WORDS, all_of, same_weights, tiny_bert, tiny_student, tiny_teacher, training_pairs

from albert_infer.learning.training.batches import padded_batch
from recipes.builtin.conversion import albert_layer, embedding_outputs, student_from_teacher

pytestmark = pytest.mark.usefixtures("one_thread")


def test_albert_from_bert_has_the_hidden_states_of_the_bert() -> None:
    pairs = training_pairs()
    batch = padded_batch(pairs, all_of(pairs), CPU)
    inputs = {
        "input_ids": batch.input_ids_BL,
        "token_type_ids": batch.token_type_ids_BL,
        "attention_mask": batch.attention_mask_BL,
    }
    with torch.no_grad():
        of_bert = tiny_bert()(**inputs, output_hidden_states=True)
        of_albert = tiny_teacher().albert(**inputs, output_hidden_states=True)
    for expected, found in zip(of_bert.hidden_states, of_albert.hidden_states, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(of_albert.pooler_output, of_bert.pooler_output)


def test_student_has_the_claimed_shapes() -> None:
    student = tiny_student(groups=2)
    assert student.get_parameter("albert.embeddings.word_embeddings.weight").shape == (len(WORDS), 8)
    assert student.get_parameter("albert.encoder.embedding_hidden_mapping_in.weight").shape == (16, 8)
    assert len(student.albert.encoder.albert_layer_groups) == 2
    assert student.config.num_hidden_layers == 4


@pytest.mark.parametrize(("groups", "middle"), [(1, [2]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3])])
def test_student_group_is_the_middle_one_of_the_layers_it_replaces(groups: int, middle: list[int]) -> None:
    teacher, student = tiny_teacher(), tiny_student(groups)
    for group, layer in enumerate(middle):
        assert same_weights(albert_layer(student, group), albert_layer(teacher, layer))


def test_student_mapping_rebuilds_embeddings_that_fit_into_its_size() -> None:
    teacher = tiny_teacher()
    with torch.no_grad():
        for name in ("word", "position", "token_type"):
            teacher.get_parameter(f"albert.embeddings.{name}_embeddings.weight")[:, 4:] = 0
    tokens = torch.arange(len(WORDS)).repeat(20)
    student = student_from_teacher(teacher, embedding_size=8, groups=1, tokens_T=tokens)
    with torch.no_grad():
        wanted, found = embedding_outputs(teacher, tokens), embedding_outputs(student, tokens)
    unexplained = (wanted - found).square().sum() / (wanted - wanted.mean(dim=0)).square().sum()
    assert unexplained < 0.1
