"""Each kernel gives what torch's own operations give, for rows and lengths that are no whole vectors too."""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from albert_infer.engine.activations import ACTIVATION_BY_NAME, gate_of
from albert_infer.engine.cpu import kernels as kernels_module
from albert_infer.engine.cpu.kernels import NOTHING, GateTerms, Kernels, Operand, Product, kernels
from albert_infer.engine.cpu.prebuilt import COMPILERS, V3, V4, flags
from albert_infer.engine.processor import cpu_flags
from albert_infer.engine.weights import Norm

# A step of bf16 is 2⁻⁸ of a number.
BF16_STEP: Final = 2.0**-8

pytestmark = pytest.mark.usefixtures("one_thread")


# Processors of fewer instructions, with vectors of 512, 256 and 128 bits.
OTHERS: Final = {
    "x86-64-v4": V4,
    "x86-64-v3": V3,
    "x86-64": frozenset({"sse2"}),
}


@pytest.fixture(
    scope="module", params=["this processor", *(pytest.param(name, marks=pytest.mark.process) for name in OTHERS)]
)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The kernels for this processor, and for those of fewer instructions."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        pytest.skip("no compiler")
    if request.param == "this processor":
        found = kernels()
        assert found is not None
        return found
    if not OTHERS[request.param] <= cpu_flags():
        pytest.skip(f"this processor has not all instructions of {request.param}")
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    options = (*flags("x86_64"), f"-march={request.param}")
    subprocess.run([compiler, *options, Path(kernels_module.__file__).with_suffix(".cpp"), "-o", library], check=True)
    return Kernels(ctypes.CDLL(str(library)))


# Whether rows are quantised, and the type of their product.
FORMS: Final = pytest.mark.parametrize(
    ("quantized", "dtype"), [(False, torch.bfloat16), (True, torch.bfloat16), (True, torch.float32)]
)


def random_product(rows: int, columns: int, *, quantized: bool = True, dtype: torch.dtype = torch.bfloat16) -> Product:
    """The product of rows that were quantised with scales and centers, or were not."""
    torch.manual_seed(rows + columns)
    scales, centers = (
        (torch.rand(rows) + 0.5, torch.randn(rows)) if quantized else (torch.ones(rows), torch.zeros(rows))
    )
    operand = Operand(NOTHING, torch.zeros(rows, 1, dtype=torch.uint8) if quantized else NOTHING, scales, centers)
    states = torch.randn(rows, columns).to(dtype)
    return Product(states, operand, torch.randn(columns), torch.randn(columns))


def exact(product: Product) -> Tensor:
    operand = product.operand
    return (
        product.states_XN * operand.scales_X[:, None] + operand.centers_X[:, None] * product.sums_N + product.biases_N
    )


def dequantized(operand: Operand) -> Tensor:
    return (operand.quantized_XN.float() - 128) * operand.scales_X[:, None] + operand.centers_X[:, None]


def assert_is(operand: Operand, expected_XN: Tensor, *, within: float = 0.0) -> None:
    """States to a step of bf16, quantised numbers to half a step of theirs."""
    if operand.states_XN is not NOTHING:
        torch.testing.assert_close(operand.states_XN.float(), expected_XN, rtol=BF16_STEP, atol=1e-5 + within)
    if operand.quantized_XN is not NOTHING:
        lowest_X1, highest_X1 = expected_XN.aminmax(dim=1, keepdim=True)
        step_X1 = (highest_X1 - lowest_X1) / 254
        assert bool(((dequantized(operand) - expected_XN).abs() <= step_X1 * 0.501 + 2 * within).all())


@FORMS
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_activate_is_the_gelu_of_the_product(
    compiled: Kernels, activation: str, quantized: bool, dtype: torch.dtype
) -> None:
    product = random_product(5, 48, quantized=quantized, dtype=dtype)
    product.states_XN[0] = torch.linspace(-300, 300, 48)
    activated = Operand.zeros(5, 48, states=True, quantized=quantized)
    gate = gate_of(activation)
    assert gate is not None
    compiled.activate(product, GateTerms(gate), torch.empty(48), activated)
    expected_XN = ACTIVATION_BY_NAME[activation](exact(product))
    # Far out the gate is 7e-5 from 0 or 1.
    assert_is(activated, expected_XN, within=5e-4 + 7e-5 * 400)
    assert_is(activated.slice(1, 5), expected_XN[1:], within=5e-4)


def test_only_gelus_have_a_gate() -> None:
    gated = {name for name in ACTIVATION_BY_NAME if gate_of(name) is not None}
    tanh_forms = {"gelu_accurate", "gelu_fast", "gelu_new", "gelu_python_tanh", "gelu_pytorch_tanh"}
    assert gated == tanh_forms | {"gelu", "gelu_python"}


@FORMS
def test_add_and_normalize_is_the_layer_norm_of_the_sum(compiled: Kernels, quantized: bool, dtype: torch.dtype) -> None:
    product = random_product(7, 80, quantized=quantized, dtype=dtype)
    # A mean far from zero takes digits from a variance that is not taken around it.
    hidden = Operand.zeros(7, 80, states=True, quantized=quantized)
    hidden.states_XN.copy_(torch.randn(7, 80) + 100)
    norm = Norm(torch.randn(80), torch.randn(80), 1e-6)
    expected_XN = norm(exact(product) + hidden.states_XN)
    compiled.add_and_normalize(product, hidden, norm, torch.empty(80), hidden)
    assert_is(hidden, expected_XN, within=1e-4)


@FORMS
@pytest.mark.parametrize(("heads", "columns"), [(1, 16), (3, 32), (2, 64), (2, 80)])
def test_attend_is_softmax_attention_of_each_pair(
    compiled: Kernels, heads: int, columns: int, quantized: bool, dtype: torch.dtype
) -> None:
    lengths = (1, 5, 6, 7, 16, 17, 33)
    tokens_P = torch.tensor([0, *lengths]).cumsum(0)
    total, width = sum(lengths), heads * columns
    product = random_product(total, 3 * width, quantized=quantized, dtype=dtype)
    query, key, value = product.parts(3)
    context = Operand.zeros(total, width, states=not quantized, quantized=quantized)
    scratch = torch.empty(compiled.scratch_floats(max(lengths), heads, columns, width))
    compiled.attend(query, tokens_P, key, value, tokens_P, heads, scratch, context)
    expected_XH = torch.cat([attended(rows_LH, heads) for rows_LH in exact(product).split(lengths)])
    assert_is(context, expected_XH, within=1e-5)
    firsts = Operand.zeros(len(lengths), width, states=not quantized, quantized=quantized)
    first_query = Product(
        query.states_XN[tokens_P[:-1]], query.operand.rows(tokens_P[:-1]), query.biases_N, query.sums_N
    )
    compiled.attend(first_query, torch.arange(len(tokens_P)), key, value, tokens_P, heads, scratch, firsts)
    assert_is(firsts, expected_XH[tokens_P[:-1]], within=1e-5)


def attended(rows_LH: Tensor, heads: int) -> Tensor:
    query, key, value = (part.unflatten(1, (heads, -1)).transpose(0, 1) for part in rows_LH.chunk(3, dim=1))
    return functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)


@pytest.mark.parametrize(("dtype", "step"), [(torch.bfloat16, BF16_STEP), (torch.float32, 1e-6)])
def test_values_of_a_product_are_what_the_kernels_read(dtype: torch.dtype, step: float) -> None:
    product = random_product(6, 32, dtype=dtype)
    assert product.values(2, 5).dtype == dtype
    torch.testing.assert_close(product.values(2, 5).float(), exact(product)[2:5], rtol=step, atol=1e-5)


def test_copy_makes_an_operand_of_states(compiled: Kernels) -> None:
    states_XN = torch.randn(3, 64).bfloat16()
    # Constant rows have no range to quantise.
    states_XN[1] = 2.0
    states_XN[2] = 0.0
    operand = Operand.zeros(3, 64, states=True, quantized=True)
    compiled.copy(states_XN, torch.empty(64), operand)
    assert torch.equal(operand.states_XN, states_XN)
    assert_is(operand, states_XN.float())


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_stays_so(compiled: Kernels, wrong: float) -> None:
    states_XN = torch.ones(2, 64).bfloat16()
    states_XN[0, 37] = wrong
    operand = Operand.zeros(2, 64, states=True, quantized=True)
    compiled.copy(states_XN, torch.empty(64), operand)
    assert not operand.states_XN[0].isfinite().all()
    assert operand.scales_X.isfinite().tolist() == [False, True]
