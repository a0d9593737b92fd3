"""The passes of `passes` on a card: which kernel runs, with which tiles.

Tiles depend on the sizes of a checkpoint and on the longest row of a micro-batch only, so that the same call gives the
same bits. A checkpoint needs at most ten compiled kernels: one for the embeddings, one LayerNorm, two attentions for
each of three tiles, and two that quantise for fp8.

Shapes: as in `passes`.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from subprocess import CalledProcessError
from typing import Any, Final

import torch
import triton
from torch import Tensor
from triton import TritonError

from albert_infer.engine.cuda import kernels
from albert_infer.engine.cuda.passes import FP8, Fp8Rows
from albert_infer.engine.faults import is_device_lost, is_out_of_memory
from albert_infer.engine.weights import EndWeights, Norm

# Numbers of a tile of whole rows: 32 for each thread of four warps. A tile of one row may have more.
TILE_NUMBERS: Final = 4096
MOST_ROWS: Final = 16
NUMBERS_A_WARP: Final = 1024
MOST_WARPS: Final = 16
# The least side of a product of tiles.
LEAST_SIDE: Final = 16
# Heads that one program computes, by the tokens of its tile. A program should load several kilobytes.
HEADS_EACH: Final = {16: 4, 32: 2, 64: 1}


@dataclass(frozen=True)
class Tile:
    """The tile of whole rows that one program computes, in `warps` warps."""

    columns: int
    rows: int
    warps: int


@cache
def tile_of(width: int) -> Tile:
    """The tile for rows of `width` columns."""
    columns = max(LEAST_SIDE, triton.next_power_of_2(width))
    rows = min(MOST_ROWS, max(1, TILE_NUMBERS // columns))
    return Tile(columns, rows, min(MOST_WARPS, max(1, rows * columns // NUMBERS_A_WARP)))


class TritonPasses:
    """The passes as Triton kernels, on the device of their arguments."""

    def embedded(self, ends: EndWeights, words_T: Tensor, types_T: Tensor, positions_T: Tensor) -> Tensor:
        """As `Passes`."""
        norm = ends.embedding_norm
        embedded_TE = ends.words.new_empty(len(words_T), ends.words.shape[1])
        arguments = (words_T, types_T, positions_T, norm.weight, norm.bias, embedded_TE, len(words_T), norm.eps)
        _launch_rows(kernels.embed, embedded_TE, ends.words, ends.token_types, ends.positions, *arguments)
        return embedded_TE

    def add_and_normalize(self, product_XH: Tensor, bias_H: Tensor, residual_XH: Tensor, norm: Norm) -> Tensor:
        """As `Passes`. Overwrites the product."""
        arguments = (bias_H, residual_XH, norm.weight, norm.bias, len(product_XH), norm.eps)
        _launch_rows(kernels.add_and_normalize, product_XH, product_XH, *arguments)
        return product_XH

    def attend(
        self, query_XH: Tensor, key_TH: Tensor, value_TH: Tensor, tokens_P: Tensor, *, longest: int, heads: int
    ) -> Tensor:
        """As `Passes`, for rows of at most 64 tokens. Query, key and value may be views of one product."""
        rows, head_size = len(tokens_P) - 1, query_XH.shape[1] // heads
        tokens = max(LEAST_SIDE, triton.next_power_of_2(longest))
        columns = max(LEAST_SIDE, triton.next_power_of_2(head_size))
        context_XH = query_XH.new_empty(query_XH.shape)
        arguments = (query_XH, key_TH, value_TH, context_XH, tokens_P)
        strides = (query_XH.stride(0), key_TH.stride(0), value_TH.stride(0))
        sizes = (math.log2(math.e) / math.sqrt(head_size), heads, head_size, columns, tokens)
        if len(query_XH) == rows:
            warps = max(1, tokens * columns // (2 * NUMBERS_A_WARP))
            kernels.attend_first[rows * heads,](*arguments, *strides, *sizes, num_warps=warps)
        else:
            each = math.gcd(heads, HEADS_EACH[tokens])
            grid, warps = (rows * heads // each,), tokens // LEAST_SIDE
            kernels.attend[grid](*arguments, *strides, *sizes, each, num_warps=warps)
        return context_XH

    def quantized(self, states_XN: Tensor, *, gelu: bool) -> Fp8Rows:
        """As `Passes`."""
        rows = len(states_XN)
        quantized = Fp8Rows(
            states_XN.new_empty(states_XN.shape, dtype=FP8), states_XN.new_empty(rows, 1, dtype=torch.float32)
        )
        _launch_rows(kernels.quantize, states_XN, states_XN, quantized.values_XN, quantized.scales_X1, rows, GELU=gelu)
        return quantized


def _launch_rows(kernel: Any, tiled_XN: Tensor, *arguments: Tensor | float, **constants: bool) -> None:
    """Start one program for each tile of `tiled_XN`."""
    rows, width = tiled_XN.shape
    tile = tile_of(width)
    grid = (triton.cdiv(rows, tile.rows),)
    kernel[grid](*arguments, width, tile.columns, tile.rows, num_warps=tile.warps, **constants)


def compiled_passes(device: torch.device) -> TritonPasses | None:
    """The passes if Triton can compile and run a kernel here, else None.

    Triton needs a C compiler, and a folder that it can write to. Raises the error of a full or lost device.
    """
    passes = TritonPasses()
    row, states = torch.ones(LEAST_SIDE, device=device), torch.ones(1, LEAST_SIDE, device=device)
    try:
        passes.add_and_normalize(states, row, states.clone(), Norm(row, row, 1e-12))
    except (TritonError, RuntimeError, OSError, CalledProcessError) as error:
        if is_out_of_memory(error) or is_device_lost(error):
            raise
        return None
    return passes
