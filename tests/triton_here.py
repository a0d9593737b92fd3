"""The Triton kernels on this machine: compiled where there is a card, else in Triton's interpreter.

The interpreter of 3.7 cuts bf16 where a card rounds, loses the carry of fp8, and multiplies the bits of bf16 as whole
numbers. Here it converts and multiplies by torch, whose formats are a card's.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from albert_infer.engine.cuda.launches import TritonPasses

HAS_CARD: Final = torch.cuda.is_available()
LAUNCHES: Final = "albert_infer.engine.cuda.launches"
# By Triton's names.
FORMATS: Final = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8e4nv": torch.float8_e4m3fn,
}
BITS: Final = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32}


def triton_passes() -> TritonPasses:
    """The passes; skips the test where Triton is not installed."""
    pytest.importorskip("triton", reason="Triton is not installed")
    launches: Any = importlib.import_module(LAUNCHES) if HAS_CARD else _interpreted_launches()
    passes: TritonPasses = launches.TritonPasses()
    return passes


@cache
def _interpreted_launches() -> Any:
    """The launches with a Triton of their own.

    Triton's functions ask as they are imported whether the interpreter will run them, and transformers imports Triton
    before any test could say so.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for name in [name for name in sys.modules if name.split(".")[0] == "triton" and "._C" not in name]:
            patch.delitem(sys.modules, name)
        launches: Any = importlib.import_module(LAUNCHES)
        interpreter: Any = importlib.import_module("triton.runtime.interpreter")
        launches.triton.knobs.runtime.interpret = True
    interpreter._convert_float = _converted
    interpreter.InterpreterBuilder.create_dot = _product
    return launches


def _converted(numbers: NDArray[Any], before: Any, after: Any, *_: object) -> NDArray[Any]:
    """The bits of the numbers, which are in the format `before`, in the format `after`."""
    source, target = FORMATS[before.name], FORMATS[after.name]
    bits = torch.from_numpy(np.ascontiguousarray(numbers).view(f"uint{8 * source.itemsize}"))
    converted: NDArray[Any] = bits.view(source).to(target).view(BITS[target.itemsize]).numpy()
    return converted


def _product(builder: Any, first: Any, second: Any, sums: Any, *_: object) -> Any:
    """A product of tiles with sums in the type of `sums`."""
    numbers = [
        _converted(tile.data, tile.dtype.scalar, sums.dtype.scalar).view(sums.data.dtype) for tile in (first, second)
    ]
    return type(sums)(np.matmul(*numbers) + sums.data, sums.dtype.scalar)
