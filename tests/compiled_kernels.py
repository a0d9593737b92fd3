"""Compile every kernel of some checkpoints for a card of one compute capability, and print what came out as JSON.

No card is needed: the kernels are compiled as they would be launched, and not launched.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from albert_infer.engine.cuda.launches import TritonPasses
from albert_infer.engine.weights import Dense, EndWeights, Norm

# Hidden size, intermediate size and heads of base and xxlarge, and of one whose heads must be padded.
SHAPES: Final = ((768, 3072, 12), (4096, 16384, 64), (312, 1200, 12))
EMBEDDING: Final = 128
FIRST_WITH_FP8: Final = 89


class CardToCompileFor:
    """A card of one compute capability, as far as Triton asks for it before it launches."""

    def __init__(self, capability: int) -> None:
        self._capability = capability

    def get_current_target(self) -> Any:
        """What to compile for."""
        return GPUTarget("cuda", self._capability, 32)

    def get_current_device(self) -> int:
        """The only one."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """None is used."""
        return 0


def compiled(capability: int) -> list[tuple[str, Any]]:
    """Each kernel that these checkpoints launch, by its name."""
    driver.set_active(CardToCompileFor(capability))
    launch, kernels = JITFunction.run, []

    def compile_alone(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        kernels.append((kernel.__name__, launch(kernel, *arguments, grid=grid, warmup=True, **options)))

    JITFunction.run = compile_alone
    for hidden, intermediate, heads in SHAPES:
        compute(TritonPasses(), hidden, intermediate, heads, has_fp8=capability >= FIRST_WITH_FP8)
    return list({id(binary): (name, binary) for name, binary in kernels}.values())


def compute(passes: TritonPasses, hidden: int, intermediate: int, heads: int, *, has_fp8: bool) -> None:
    """Every pass of a checkpoint, with tiles for rows of every length."""
    norm, dense = Norm(numbers(hidden), numbers(hidden), 1e-12), Dense(numbers(1), numbers(1))
    tables, table_norm = numbers(2, EMBEDDING), Norm(numbers(EMBEDDING), numbers(EMBEDDING), 1e-12)
    indices = torch.zeros(5, dtype=torch.int32)
    passes.embedded(EndWeights(tables, tables, tables, table_norm, dense, dense, dense), indices, indices, indices)
    # Row counts that 16 divides and does not divide: both get the same kernel.
    for rows in (5, 64):
        passes.add_and_normalize(numbers(rows, hidden), numbers(hidden), numbers(rows, hidden), norm)
    for longest in (12, 28, 60):
        query, key, value = numbers(2 * longest, 3 * hidden).chunk(3, dim=1)
        tokens = torch.tensor([0, longest, 2 * longest], dtype=torch.int32)
        for queries in (query, query[:2].contiguous()):
            passes.attend(queries, key, value, tokens, longest=longest, heads=heads)
    if has_fp8:
        passes.quantized(numbers(5, hidden), gelu=False)
        passes.quantized(numbers(5, intermediate), gelu=True)


def numbers(*shape: int) -> Tensor:
    """Memory for numbers in bf16."""
    return torch.empty(*shape, dtype=torch.bfloat16)


def assembled(binary: Any, capability: int) -> dict[str, int]:
    """What the assembler says of a kernel, and how many of its loads are of 16 bytes."""
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    assembler = tools / ("ptxas-blackwell" if capability >= 100 else "ptxas")
    target = f"sm_{capability}{'a' if capability >= 90 else ''}"
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as source:
        source.write(binary.asm["ptx"])
        source.flush()
        told = subprocess.run(
            [assembler, "-v", "--gpu-name", target, source.name, "-o", "/dev/null"],
            capture_output=True, text=True, check=True,
        ).stderr  # fmt: skip
    registers, spilled = re.search(r"Used (\d+) registers", told), re.search(r"(\d+) bytes spill stores", told)
    assert registers is not None
    assert spilled is not None
    return {
        "registers": int(registers[1]),
        "spilled_bytes": int(spilled[1]),
        "shared_bytes": binary.metadata.shared,
        "loads": len(re.findall(r"ld\.global", binary.asm["ptx"])),
        "loads_of_16_bytes": len(re.findall(r"ld\.global[.\w]*\.v4\.b32", binary.asm["ptx"])),
    }


if __name__ == "__main__":
    asked = int(sys.argv[1])
    json.dump([{"name": name, **assembled(binary, asked)} for name, binary in compiled(asked)], sys.stdout)
