"""Every activation that a config.json may name is transformers' own; what it may not name is refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.activations import ACT2CLS, ACT2FN

from albert_infer.engine.activations import ACTIVATION_BY_NAME, GELU_ROWS
from albert_infer.engine.shape import ACTIVATIONS, AlbertShape
from albert_infer.errors import ModelError

# What bf16 rounds away of a number, four times: an activation has about so many steps.
BF16_TOLERANCE = 4 * 2**-8


def inputs() -> Tensor:
    """Small and large numbers of both signs and both zeros, in more rows than are computed at a time."""
    edges = [0.0, -0.0, 1e-30, -1e-30, 1e-6, -1e-6, 50.0, -50.0, 1e4, -1e4, 1e18, -1e18]
    numbers = torch.cat([torch.tensor(edges), torch.linspace(-12, 12, 8 * (2 * GELU_ROWS + 3) - len(edges))])
    return numbers.reshape(2 * GELU_ROWS + 3, 8)


def test_the_names_are_those_of_transformers() -> None:
    assert ACTIVATION_BY_NAME.keys() == ACTIVATIONS
    assert set(ACT2CLS) >= ACTIVATIONS


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@torch.no_grad()
def test_an_activation_equals_transformers_in_fp32(name: str) -> None:
    expected, found = ACT2FN[name](inputs()), ACTIVATION_BY_NAME[name](inputs())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@torch.no_grad()
def test_an_activation_in_bf16_is_transformers_own_in_fp32_but_for_rounding(name: str) -> None:
    rounded = inputs().bfloat16()
    expected, found = ACT2FN[name](rounded.float()), ACTIVATION_BY_NAME[name](rounded.clone())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=BF16_TOLERANCE, atol=BF16_TOLERANCE)


def shape_of(activation: object) -> AlbertShape:
    return AlbertShape.from_config({"model_type": "albert", "num_labels": 3, "hidden_act": activation})


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_a_checkpoint_may_have_each_of_them(name: str) -> None:
    assert shape_of(name).hidden_act == name


@pytest.mark.parametrize("name", [*sorted(set(ACT2CLS) - ACTIVATIONS), "GELU", "gelu_7", "", None, 1, ["gelu"]])
def test_any_other_is_refused_and_the_known_ones_are_named(name: object) -> None:
    with pytest.raises(ModelError) as refused:
        shape_of(name)
    assert refused.value.asked == f"config.json hidden_act as one of {', '.join(sorted(ACTIVATIONS))}"
    assert repr(name) in refused.value.problem
    assert "AlbertForSequenceClassification" in refused.value.remedy


def test_prelu_and_others_with_weights_of_their_own_are_refused() -> None:
    # The engine would have to read them from the checkpoint.
    with_weights = {name for name in ACT2CLS if any(True for _ in ACT2FN[name].parameters())}
    assert with_weights
    assert with_weights.isdisjoint(ACTIVATIONS)
