"""Triton kernels for the passes of `passes`.

Tensors are in bf16, fp16 or fp32. Sums, statistics and softmax are in fp32. A program computes whole rows, and adds the
numbers of a row in a fixed order: kernels use no atomics and no timing, so results are reproducible. An argument in
capitals is a constant of a compiled kernel. Widths are padded to a power of two (`COLUMNS`) and masked.
"""
# ruff: noqa: N803 - constants of a kernel are in capitals

from __future__ import annotations

import triton
import triton.language as tl

# The largest number of float8_e4m3fn, and a lower bound for the largest number of a row: a scale must not be zero.
LARGEST_FP8 = tl.constexpr(448.0)
SMALLEST_FP8 = tl.constexpr(1e-12)
# √(2/π), and the factor of x³ in the tanh form of GELU.
GELU_SCALE = tl.constexpr(0.7978845608028654)
GELU_CUBE = tl.constexpr(0.044715)


@triton.jit
def _normalized(
    states: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    epsilon: tl.tensor,
    column: tl.tensor,
    inside: tl.tensor,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """LayerNorm of each row of `states` (rows, columns), in fp32. `states` is 0 in columns outside of `inside`."""
    mean = tl.sum(states, 1) / WIDTH
    centered = tl.where(inside[None, :], states - mean[:, None], 0.0)
    variance = tl.sum(centered * centered, 1) / WIDTH
    scaled = centered * tl.rsqrt(variance + epsilon)[:, None]
    factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    offset = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    return scaled * factor[None, :] + offset[None, :]


@triton.jit(do_not_specialize=["rows"])
def add_and_normalize(
    product: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    norm_weight: tl.tensor,
    norm_bias: tl.tensor,
    rows: tl.tensor,
    epsilon: tl.tensor,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write the LayerNorm of product + bias + residual into the product."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    inside = column < WIDTH
    mask = (row < rows)[:, None] & inside[None, :]
    offset = row.to(tl.int64)[:, None] * WIDTH + column[None, :]
    states = tl.load(product + offset, mask=mask, other=0.0).to(tl.float32)
    states += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)[None, :]
    states += tl.load(residual + offset, mask=mask, other=0.0).to(tl.float32)
    normal = _normalized(states, norm_weight, norm_bias, epsilon, column, inside, WIDTH)
    tl.store(product + offset, normal.to(product.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["rows"])
def embed(
    words: tl.tensor,
    token_types: tl.tensor,
    positions: tl.tensor,
    word_of_row: tl.tensor,
    type_of_row: tl.tensor,
    position_of_row: tl.tensor,
    norm_weight: tl.tensor,
    norm_bias: tl.tensor,
    to: tl.tensor,
    rows: tl.tensor,
    epsilon: tl.tensor,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write the LayerNorm of the sum of each token's three embeddings into `to`."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    inside = column < WIDTH
    valid = row < rows
    mask = valid[:, None] & inside[None, :]
    word = tl.load(word_of_row + row, mask=valid, other=0).to(tl.int64)
    token_type = tl.load(type_of_row + row, mask=valid, other=0).to(tl.int64)
    position = tl.load(position_of_row + row, mask=valid, other=0).to(tl.int64)
    states = tl.load(words + word[:, None] * WIDTH + column[None, :], mask=mask, other=0.0).to(tl.float32)
    states += tl.load(token_types + token_type[:, None] * WIDTH + column[None, :], mask=mask, other=0.0).to(tl.float32)
    states += tl.load(positions + position[:, None] * WIDTH + column[None, :], mask=mask, other=0.0).to(tl.float32)
    normal = _normalized(states, norm_weight, norm_bias, epsilon, column, inside, WIDTH)
    offset = row.to(tl.int64)[:, None] * WIDTH + column[None, :]
    tl.store(to + offset, normal.to(to.dtype.element_ty), mask=mask)


@triton.jit
def attend(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    context: tl.tensor,
    first_token: tl.tensor,
    query_stride: tl.tensor,
    key_stride: tl.tensor,
    value_stride: tl.tensor,
    scale: tl.tensor,
    HEADS: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOKENS: tl.constexpr,
    HEADS_EACH: tl.constexpr,
) -> None:
    """Attention of one row over its own tokens (at most TOKENS), for HEADS_EACH heads.

    `scale` multiplies the scores before a power of 2.
    """
    groups: tl.constexpr = HEADS // HEADS_EACH
    row = tl.program_id(0) // groups
    first_head = (tl.program_id(0) % groups) * HEADS_EACH
    begin = tl.load(first_token + row)
    token = tl.arange(0, TOKENS)
    head_column = tl.arange(0, COLUMNS)
    inside = token < tl.load(first_token + row + 1) - begin
    mask = inside[:, None] & (head_column < HEAD_SIZE)[None, :]
    offset = (begin + token).to(tl.int64)[:, None]
    for each in tl.static_range(HEADS_EACH):
        column = (first_head + each) * HEAD_SIZE + head_column[None, :]
        queries = tl.load(query + offset * query_stride + column, mask=mask, other=0.0)
        keys = tl.load(key + offset * key_stride + column, mask=mask, other=0.0)
        values = tl.load(value + offset * value_stride + column, mask=mask, other=0.0)
        # Without "ieee" tensors in fp32 would be rounded to TF32.
        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale
        scores = tl.where(inside[None, :], scores, float("-inf"))
        powers = tl.exp2(scores - tl.max(scores, 1)[:, None])
        total = tl.sum(powers, 1)
        states = tl.dot(powers.to(values.dtype), values, input_precision="ieee") / total[:, None]
        tl.store(context + offset * (HEADS * HEAD_SIZE) + column, states.to(context.dtype.element_ty), mask=mask)


@triton.jit
def attend_first(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    context: tl.tensor,
    first_token: tl.tensor,
    query_stride: tl.tensor,
    key_stride: tl.tensor,
    value_stride: tl.tensor,
    scale: tl.tensor,
    HEADS: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    COLUMNS: tl.constexpr,
    TOKENS: tl.constexpr,
) -> None:
    """The same for one head and one query: `query` and `context` have one row for each row of tokens.

    A product of tiles has at least 16 queries, so this kernel multiplies without one.
    """
    row = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    begin = tl.load(first_token + row)
    token = tl.arange(0, TOKENS)
    head_column = tl.arange(0, COLUMNS)
    inside = token < tl.load(first_token + row + 1) - begin
    mask = inside[:, None] & (head_column < HEAD_SIZE)[None, :]
    offset = (begin + token).to(tl.int64)[:, None]
    column = head * HEAD_SIZE + head_column
    queries = tl.load(query + row.to(tl.int64) * query_stride + column, mask=head_column < HEAD_SIZE, other=0.0).to(
        tl.float32
    )
    keys = tl.load(key + offset * key_stride + column[None, :], mask=mask, other=0.0).to(tl.float32)
    values = tl.load(value + offset * value_stride + column[None, :], mask=mask, other=0.0).to(tl.float32)
    scores = tl.where(inside, tl.sum(keys * queries[None, :], 1) * scale, float("-inf"))
    powers = tl.exp2(scores - tl.max(scores, 0))
    states = tl.sum(powers[:, None] * values, 0) / tl.sum(powers, 0)
    to = context + row.to(tl.int64) * (HEADS * HEAD_SIZE) + column
    tl.store(to, states.to(context.dtype.element_ty), mask=head_column < HEAD_SIZE)


@triton.jit(do_not_specialize=["rows"])
def quantize(
    states: tl.tensor,
    to: tl.tensor,
    scales: tl.tensor,
    rows: tl.tensor,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    GELU: tl.constexpr,
) -> None:
    """Write each row, or the GELU of each row, in fp8 with its own scale. Numbers that are not finite become NaN."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    mask = (row < rows)[:, None] & (column < WIDTH)[None, :]
    offset = row.to(tl.int64)[:, None] * WIDTH + column[None, :]
    numbers = tl.load(states + offset, mask=mask, other=0.0).to(tl.float32)
    if GELU:
        # x · (1 + tanh z) / 2 is x / (1 + exp(-2z)).
        doubled = 2 * GELU_SCALE * (numbers + GELU_CUBE * numbers * numbers * numbers)
        numbers = numbers / (1.0 + tl.exp(-doubled))
    scale = tl.maximum(tl.max(tl.abs(numbers), 1), SMALLEST_FP8) / LARGEST_FP8
    tl.store(to + offset, (numbers / scale[:, None]).to(to.dtype.element_ty), mask=mask)
    tl.store(scales + row, scale, mask=row < rows)
