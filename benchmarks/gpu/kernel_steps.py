"""The step on fused kernels: each against the same pass in plain torch and fp32.

Shapes: T tokens, P where each row begins and where the last ends, H hidden, N columns.
"""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from albert_infer.engine.cuda.choice import card_passes
from albert_infer.engine.cuda.passes import Passes, PlainPasses
from albert_infer.engine.weights import AlbertTensors, EndWeights, Norm
from benchmarks.devices import FLOAT_DTYPES
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.figures import Figure, SkippedError

WIDTHS: Final = (128, 312, 768, 4096)
HEAD_SIZES: Final = (16, 26, 32, 64, 80, 128)
HEADS: Final = 4
# Every length that the short kernels take, one token and the edges of tiles among them.
LENGTHS: Final = tuple(range(1, 65))
DRY_LENGTHS: Final = (1, 7, 16, 17)
ROWS, DRY_ROWS = 5000, 33
# Largest difference from fp32: half of a step between neighbouring numbers of up to 8, twice.
BARS: Final = {torch.bfloat16: 2**-5, torch.float16: 2**-8}
LEAST_EQUAL_FP8: Final = 0.99


@torch.inference_mode()
def references(bench: Bench) -> Sequence[Figure]:
    """Each fused kernel against its plain form in fp32, for many widths, head sizes and lengths."""
    plain = PlainPasses()
    passes = plain if bench.dry else card_passes()
    if passes is None:
        raise SkippedError("Triton is not installed here, or cannot compile")
    random = _Random(bench, FLOAT_DTYPES[bench.half])
    return [*_norms(passes, plain, random), *_attention(passes, plain, random), *_others(passes, plain, random)]


class _Random:
    """Random tensors in the card's 16-bit type, the same in each run."""

    def __init__(self, bench: Bench, dtype: torch.dtype) -> None:
        self.bench, self.dtype, self.bar = bench, dtype, BARS[dtype]
        self._generator = torch.Generator().manual_seed(7)

    def __call__(self, *shape: int) -> Tensor:
        """Normally distributed numbers."""
        return torch.randn(*shape, generator=self._generator).to(self.bench.where, self.dtype)


def _norms(passes: Passes, plain: Passes, random: _Random) -> list[Figure]:
    figures = []
    for width in WIDTHS:
        product, residual = (random(DRY_ROWS if random.bench.dry else ROWS, width) for _ in range(2))
        bias, norm = random(width), Norm(1 + random(width) / 10, random(width) / 10, 1e-12)
        exact = plain.add_and_normalize(product.float(), bias, residual, norm)
        fused = passes.add_and_normalize(product.clone(), bias, residual, norm)
        figures.append(_figure(f"sum and norm, {width} columns", fused, exact, random))
    return figures


def _attention(passes: Passes, plain: Passes, random: _Random) -> list[Figure]:
    lengths = DRY_LENGTHS if random.bench.dry else LENGTHS
    figures = []
    for size in HEAD_SIZES:
        differences = []
        # Tiles follow from the longest row, so each of the three is tried.
        for longest in (16, 32, 64):
            ends_P = np.cumsum([0, *(length for length in lengths if length <= longest)]).astype(np.int32)
            tokens_P = torch.from_numpy(ends_P).to(random.bench.where)
            # Parts of one product, as in a pass.
            query_TH, key_TH, value_TH = random(int(ends_P[-1]), 3 * HEADS * size).chunk(3, dim=1)
            for query_XH in (query_TH, query_TH.index_select(0, tokens_P[:-1])):
                arguments: dict[str, Any] = {"longest": int(np.diff(ends_P).max()), "heads": HEADS}
                exact = plain.attend(query_XH.float(), key_TH.float(), value_TH.float(), tokens_P, **arguments)
                fused = passes.attend(query_XH, key_TH, value_TH, tokens_P, **arguments)
                differences.append(_difference(fused, exact))
        figures.append(Figure(f"short attention, heads of {size}", max(differences), most=random.bar))
    return figures


def _others(passes: Passes, plain: Passes, random: _Random) -> list[Figure]:
    """The embeddings, and on cards with fp8 the rounding to it."""
    bench = random.bench
    checkpoint = bench.checkpoint("base")
    ends = AlbertTensors.read(checkpoint.shape, checkpoint.weights).ends(random.dtype, bench.where)
    tokens = DRY_ROWS if bench.dry else ROWS
    words_T, types_T, positions_T = (
        torch.arange(tokens, dtype=torch.int32, device=bench.where) * 7 % count
        for count in (checkpoint.shape.vocab_size, 2, checkpoint.shape.max_position_embeddings)
    )
    exact = plain.embedded(_in_fp32(ends), words_T, types_T, positions_T)
    figures = [_figure("embeddings and norm", passes.embedded(ends, words_T, types_T, positions_T), exact, random)]
    if not bench.dry and bench.capability < (8, 9):
        return figures
    for gelu in (False, True):
        states_XN = random(tokens, 4096).bfloat16()
        rounded, expected = (each.quantized(states_XN, gelu=gelu) for each in (passes, plain))
        equal = (rounded.values_XN.float() == expected.values_XN.float()).float().mean()
        name = "fp8 of GELU" if gelu else "fp8"
        figures.append(Figure(f"{name}: equal numbers", float(equal), least=LEAST_EQUAL_FP8))
    return figures


def _in_fp32(ends: EndWeights) -> EndWeights:
    tables = {name: getattr(ends, name).float() for name in ("words", "positions", "token_types")}
    return replace(ends, **tables)


def _figure(name: str, fused: Tensor, exact: Tensor, random: _Random) -> Figure:
    return Figure(f"{name}: largest difference", _difference(fused, exact), most=random.bar)


def _difference(fused: Tensor, exact: Tensor) -> float:
    return float((fused.float() - exact.float()).abs().max())
