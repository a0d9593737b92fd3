"""A BERT becomes an ALBERT that computes the same, and a student starts near its teacher."""

from __future__ import annotations

import pytest
import torch
from training_models import (
    CPU,
    WORDS,
    all_of,
    same_weights,
    tiny_batches,
    tiny_bert,
    tiny_student,
    tiny_teacher,
    training_pairs,
)

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
    student = tiny_student(intermediate_size=24)
    assert student.get_parameter("albert.embeddings.word_embeddings.weight").shape == (len(WORDS), 8)
    assert student.get_parameter("albert.encoder.embedding_hidden_mapping_in.weight").shape == (16, 8)
    assert len(student.albert.encoder.albert_layer_groups) == student.config.num_hidden_layers == 4
    assert albert_layer(student, 3).get_parameter("ffn.weight").shape == (24, 16)
    of_student, of_teacher = (albert_layer(model, 3).get_submodule("attention") for model in (student, tiny_teacher()))
    assert same_weights(of_student, of_teacher)


def test_a_layer_keeps_the_neurons_that_add_most_to_its_output() -> None:
    teacher = tiny_teacher()
    layer = albert_layer(teacher, 1)
    with torch.no_grad():
        layer.get_parameter("ffn_output.weight")[:, [3, 30]] = 0  # the outputs of two neurons add nothing
        layer.get_parameter("ffn.weight")[5] = 0  # the output of another one is 0
        layer.get_parameter("ffn.bias").copy_(torch.linspace(0, 1, 32).roll(5))
    smaller = albert_layer(student_from_teacher(teacher, 8, 29, tiny_batches()), 1)
    kept = [neuron for neuron in range(32) if neuron not in (3, 5, 30)]
    for name in ("ffn.weight", "ffn.bias"):
        assert torch.equal(smaller.get_parameter(name), layer.get_parameter(name)[kept])
    wanted = layer.get_parameter("ffn_output.weight")[:, kept]
    torch.testing.assert_close(smaller.get_parameter("ffn_output.weight"), wanted, atol=0.05, rtol=0.05)


def test_the_weights_behind_the_kept_neurons_are_fitted() -> None:
    """With half of its neurons, a layer is nearer to its teacher than with the teacher's weights behind them."""
    teacher, (batch,) = tiny_teacher(), tiny_batches()
    whole = albert_layer(teacher, 0)
    fitted = albert_layer(student_from_teacher(teacher, 16, 16, [batch]), 0)
    rows, out = whole.get_parameter("ffn.weight"), whole.get_parameter("ffn_output.weight")
    kept = [int((rows == row).all(dim=1).nonzero()) for row in fitted.get_parameter("ffn.weight")]
    neurons: list[torch.Tensor] = []
    hook = whole.get_submodule("ffn_output").register_forward_pre_hook(lambda _, inputs: neurons.append(inputs[0]))
    with torch.no_grad():
        teacher(**batch)
    hook.remove()
    wanted, among_them = neurons[0] @ out.T, neurons[0][..., kept]
    errors = [
        (among_them @ weights.T - wanted).square().mean().item()
        for weights in (fitted.get_parameter("ffn_output.weight"), out[:, kept])
    ]
    assert errors[0] < 0.9 * errors[1]


def test_student_mapping_rebuilds_embeddings_that_fit_into_its_size() -> None:
    teacher = tiny_teacher()
    with torch.no_grad():
        for name in ("word", "position", "token_type"):
            teacher.get_parameter(f"albert.embeddings.{name}_embeddings.weight")[:, 4:] = 0
    tokens = torch.arange(len(WORDS)).repeat(20)
    student = student_from_teacher(teacher, 8, 32, tiny_batches())
    with torch.no_grad():
        wanted, found = embedding_outputs(teacher, tokens), embedding_outputs(student, tokens)
    unexplained = (wanted - found).square().sum() / (wanted - wanted.mean(dim=0)).square().sum()
    assert unexplained < 0.1
