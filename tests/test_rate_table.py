"""The table of rates: each card of `--card` has entries, and other shapes are scaled from the nearest one."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from albert_infer.config.planning import Card
from albert_infer.engine import AlbertShape
from albert_infer.job.estimate import rate_table
from albert_infer.job.estimate.rate_table import SHAPES, TABLE, Sizes, rate_of
from albert_infer.schema import DeviceKind, Precision

BASE = AlbertShape.from_config(
    {
        "model_type": "albert",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "id2label": {"0": "a", "1": "b", "2": "c"},
    }
)
HALF = replace(BASE, num_hidden_layers=6)
DOUBLE = replace(BASE, num_hidden_layers=24)


def test_each_card_that_may_be_named_has_an_entry() -> None:
    assert {entry.rate.card for entry in TABLE} == set(get_args(Card))


def test_each_entry_says_where_it_comes_from() -> None:
    for rate in (entry.rate for entry in TABLE):
        assert rate.basis in ("measured", "modelled")
        assert (bool(rate.where), len(rate.when), rate.tokens_per_second > 0) == (True, 10, True), rate
        assert rate.shape in SHAPES


def test_base_takes_the_products_of_the_paper() -> None:
    assert Sizes.of(BASE) == SHAPES["base"]
    assert Sizes.of(BASE).products == pytest.approx(170e6, rel=0.01)


def test_a_shape_of_the_table_has_its_own_rate() -> None:
    rate = rate_of("cpu-avx512-bf16", BASE, Precision.BF16)
    assert rate is not None
    assert (rate.basis, rate.tokens_per_second) == ("measured", 1_115)


@pytest.mark.parametrize(("shape", "times"), [(DOUBLE, 0.5), (HALF, 2)])
def test_another_shape_is_scaled_by_its_products_on_a_processor(shape: AlbertShape, times: float) -> None:
    rate, base = (rate_of("cpu-avx512-bf16", each, Precision.BF16) for each in (shape, BASE))
    assert rate is not None
    assert base is not None
    assert rate.basis == "modelled"
    assert rate.tokens_per_second == pytest.approx(times * base.tokens_per_second)
    assert "from the shape base" in rate.where


def test_a_smaller_shape_is_no_faster_on_a_card() -> None:
    rates = [rate_of("h100", shape, Precision.BF16) for shape in (BASE, HALF, DOUBLE)]
    base, half, double = (rate.tokens_per_second for rate in rates if rate is not None)
    assert (half, double) == (base, base / 2)


def test_a_precision_without_an_entry_has_no_rate() -> None:
    assert rate_of("h100", BASE, Precision.FP32) is None
    assert rate_of("b200", BASE, Precision.BF16) is None


def test_a_processor_is_known_by_its_instructions() -> None:
    for card in ("cpu-avx2", "cpu-avx512-bf16"):
        assert rate_table.processor(rate_table.flags_of(card)) == card
        assert rate_table.device_of(card) is DeviceKind.CPU
    assert rate_table.device_of("t4") is DeviceKind.CUDA


@pytest.mark.parametrize(("card", "times"), [("cpu-avx512-bf16", 10**0.16), ("h100", 1.0)])
def test_a_token_of_a_long_pair_takes_longer_on_a_processor(card: str, times: float) -> None:
    short, long = (rate_of(card, BASE, Precision.BF16, length) for length in (30, 300))
    assert short is not None
    assert long is not None
    assert short.tokens_per_second == pytest.approx(times * long.tokens_per_second)
    assert ("for pairs of about 300 tokens" in long.where) == (card != "h100")
