"""Every Triton kernel compiles for every kind of card that gets it; that needs no card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parent.parent
# What a program has on every card from capability 8.0 on without asking for more.
SHARED_BYTES: Final = 48 * 2**10
# Heads of 26 columns are no multiple of eight numbers, which a load of 16 bytes takes.
PADDED: Final = ("attend", "attend_first")


def compiled(capability: int, cache: Path) -> list[dict[str, Any]]:
    """What became of the kernels of three checkpoints."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    outcome = subprocess.run(
        [sys.executable, "tests/compiled_kernels.py", str(capability)],
        env={**environment, "PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(cache)},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    kernels: list[dict[str, Any]] = json.loads(outcome.stdout)
    return kernels


@pytest.mark.process
@pytest.mark.parametrize("capability", [90, *(pytest.param(other, marks=pytest.mark.slow) for other in (80, 89, 100))])
def test_the_kernels_compile_for_a_card_and_fit_it(capability: int, tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    kernels = compiled(capability, tmp_path)
    # One for the embeddings of all three; a LayerNorm, six attentions and in fp8 two roundings of each.
    assert len(kernels) == 1 + 3 * (7 if capability < 89 else 9)
    for kernel in kernels:
        assert kernel["shared_bytes"] <= SHARED_BYTES, kernel
        assert kernel["registers"] < 255, kernel
        assert kernel["spilled_bytes"] <= 16, kernel
        # The rest are indices, and what of a norm is not worth it.
        assert kernel["loads_of_16_bytes"] * 2 >= kernel["loads"] or kernel["name"] in {*PADDED, "embed"}, kernel
    whole = [kernel for kernel in kernels if kernel["name"] == "attend" and kernel["loads_of_16_bytes"]]
    assert len(whole) == 6, "the heads of two checkpoints are whole vectors"
    assert all(kernel["loads"] - kernel["loads_of_16_bytes"] == 2 for kernel in whole)
