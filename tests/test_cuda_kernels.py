"""Each Triton kernel gives what its reference in plain torch gives: on a card, or in Triton's interpreter."""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
import torch
from torch import Tensor
from triton_here import HAS_CARD, triton_passes

from albert_infer.engine.cuda.passes import PlainPasses
from albert_infer.engine.weights import Dense, EndWeights, Norm

if TYPE_CHECKING:
    from albert_infer.engine.cuda.launches import TritonPasses

pytestmark = pytest.mark.usefixtures("one_thread")

REFERENCE: Final = PlainPasses()
DTYPES: Final = (torch.float32, torch.bfloat16, torch.float16)
# The relative step of each type from one number to the next, twice, and of fp32 what sums in another order change.
TOLERANCE: Final = {torch.float32: 1e-5, torch.bfloat16: 2**-6, torch.float16: 2**-9}
WIDTHS: Final = (128, 312, 768, 4096)
# Head sizes with the heads of a row: powers of two, and sizes that are padded.
HEADS: Final = ((64, 2), (32, 2), (16, 3), (128, 1), (26, 2), (8, 4), (80, 1))
# For each tile the shortest row, and rows that fill it but for one token, and whole.
ROWS: Final = {16: (1, 7, 15, 16), 32: (1, 31, 32), 64: (1, 63, 64)}


# On a card the kernels are compiled, and a process has them either so or interpreted.
@pytest.fixture(scope="module", params=[pytest.param("cuda", marks=pytest.mark.gpu)] if HAS_CARD else ["cpu"])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def passes(device: str) -> TritonPasses:
    return triton_passes()


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    asked = request.param
    assert isinstance(asked, torch.dtype)
    return asked


class Numbers:
    """Random tensors on one device in one type, the same for each test."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._generator = torch.Generator().manual_seed(7)

    def __call__(self, *shape: int) -> Tensor:
        """Normally distributed numbers."""
        return torch.randn(*shape, generator=self._generator).to(self._device, self._dtype)

    def norm(self, width: int) -> Norm:
        """A LayerNorm whose factors are not all alike."""
        return Norm(self(width), self(width), 1e-6)

    def indices(self, count: int, below: int) -> Tensor:
        """Some of the numbers 0, 1, … below a bound."""
        return torch.randint(below, (count,), generator=self._generator, dtype=torch.int32).to(self._device)


@pytest.fixture
def numbers(device: str, dtype: torch.dtype) -> Numbers:
    return Numbers(device, dtype)


def on_cpu(*parts: Any) -> tuple[Any, ...]:
    """Tensors, and tensors in dataclasses, on the processor, whose fp32 is exact: a card's may be TF32."""
    return tuple(
        part.cpu() if isinstance(part, Tensor) else moved(part) if is_dataclass(part) else part for part in parts
    )


def moved(whole: Any) -> Any:
    names = [each.name for each in fields(whole)]
    return type(whole)(*on_cpu(*(getattr(whole, name) for name in names)))


def assert_alike(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.is_contiguous()
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found.cpu().float(), expected.float(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [1, 17])
def test_residual_and_layer_norm(passes: TritonPasses, numbers: Numbers, rows: int, width: int) -> None:
    product, residual, bias, norm = numbers(rows, width), numbers(rows, width), numbers(width), numbers.norm(width)
    expected = REFERENCE.add_and_normalize(*on_cpu(product, bias, residual, norm))
    before = residual.clone()
    assert_alike(passes.add_and_normalize(product, bias, residual, norm), expected)
    assert torch.equal(residual, before)


@pytest.mark.parametrize("width", [16, 48, 128, 312])
def test_embeddings(passes: TritonPasses, numbers: Numbers, width: int) -> None:
    tables = numbers(50, width), numbers(40, width), numbers(2, width)
    dense = Dense(numbers(1), numbers(1))
    ends = EndWeights(*tables, numbers.norm(width), dense, dense, dense)
    indices = numbers.indices(21, 50), numbers.indices(21, 2), numbers.indices(21, 40)
    assert_alike(passes.embedded(ends, *indices), REFERENCE.embedded(*on_cpu(ends, *indices)))


def rows_of(lengths: Sequence[int], device: str) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int().to(device)


@pytest.mark.computes
@pytest.mark.parametrize("tile", ROWS)
@pytest.mark.parametrize(("head_size", "heads"), HEADS)
def test_attention(passes: TritonPasses, numbers: Numbers, device: str, head_size: int, heads: int, tile: int) -> None:
    lengths, width = ROWS[tile], heads * head_size
    tokens_P = rows_of(lengths, device)
    # Side by side, as a product leaves them.
    query, key, value = numbers(sum(lengths), 3 * width).chunk(3, dim=1)
    # Queries for all tokens or one for each row, as views or alone.
    for queries in (query, query.contiguous(), query[: len(lengths)], query[: len(lengths)].contiguous()):
        arguments = (queries, key, value, tokens_P)
        expected = REFERENCE.attend(*on_cpu(*arguments), longest=max(lengths), heads=heads)
        assert_alike(passes.attend(*arguments, longest=max(lengths), heads=heads), expected)


def test_attention_of_rows_of_one_token_is_their_value(passes: TritonPasses, numbers: Numbers, device: str) -> None:
    query, key, value = numbers(5, 3 * 64).chunk(3, dim=1)
    context = passes.attend(query, key, value, rows_of([1] * 5, device), longest=1, heads=2)
    assert torch.equal(context, value)


def test_a_row_has_the_same_bits_whoever_shares_its_micro_batch(
    passes: TritonPasses, numbers: Numbers, device: str
) -> None:
    lengths, width = (5, 20, 28, 30), 96
    tokens_P = rows_of(lengths, device)
    qkv, norm, bias = numbers(sum(lengths), 3 * width), numbers.norm(width), numbers(width)

    def computed(part: Tensor, lengths: Sequence[int]) -> Tensor:
        query, key, value = part.chunk(3, dim=1)
        context = passes.attend(query, key, value, rows_of(lengths, device), longest=max(lengths), heads=3)
        return passes.add_and_normalize(context, bias, key.contiguous(), norm)

    together = computed(qkv, lengths)
    for length, begin, end in zip(lengths[1:], tokens_P[1:-1].tolist(), tokens_P[2:].tolist(), strict=True):
        assert torch.equal(computed(qkv[begin:end], [length]), together[begin:end])


@pytest.mark.parametrize("width", [*WIDTHS, 16384])
@pytest.mark.parametrize("gelu", [False, True])
def test_rows_in_fp8(passes: TritonPasses, numbers: Numbers, device: str, width: int, *, gelu: bool) -> None:
    if device == "cuda" and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("the card has no fp8")
    states = numbers(5, width)
    states[0] = 0
    found = moved(passes.quantized(states, gelu=gelu))
    expected = REFERENCE.quantized(states.cpu(), gelu=gelu)
    torch.testing.assert_close(found.scales_X1, expected.scales_X1, rtol=1e-5, atol=0)
    # Where a quotient is between two numbers of fp8, the last bits of fp32 decide; few are.
    differs = found.values_XN.float() != expected.values_XN.float()
    assert float(differs.float().mean()) < 0.002
    torch.testing.assert_close(found.values_XN.float(), expected.values_XN.float(), rtol=1 / 8, atol=2**-8)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")
def test_what_is_not_finite_is_no_number_in_fp8(passes: TritonPasses, numbers: Numbers, device: str) -> None:
    if device == "cuda" and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("the card has no fp8")
    states = numbers(3, 64)
    states[0, 3], states[1, 4] = torch.nan, torch.inf
    for each in (passes, REFERENCE):
        rows = each.quantized(states, gelu=False)
        values = rows.values_XN.float() * rows.scales_X1
        assert values.isnan().any(1).tolist() == [True, True, False]
