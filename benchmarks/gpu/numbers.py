"""Steps on numbers: a card must give the CPU's logits, the same bits again, and all rows when its memory is short.

Shapes: T tokens, B rows, H hidden, A heads, D columns of a head, X either T or B, R pairs, C labels.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from albert_infer.classify.batching import micro_batches
from albert_infer.classify.probabilities import softmax
from albert_infer.engine.attention import PackedAttention, RectangleAttention, flash_attention
from albert_infer.engine.packing import LengthRun
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.schema import DeviceKind, EncodedPairs, Precision
from benchmarks import pairs
from benchmarks.gpu.bench import BF16_CAPABILITY, BUILTIN, Bench, random_pairs
from benchmarks.gpu.figures import Figure, SkippedError
from benchmarks.gpu.texts import tokenized

HEAD_SIZES: Final = (8, 16, 24, 32, 64, 80, 96, 128, 192, 256)
RUNS: Final = (LengthRun(5, 1), LengthRun(3, 2), LengthRun(40, 28), LengthRun(3, 129), LengthRun(2, 512))
DRY_RUNS: Final = (LengthRun(2, 1), LengthRun(3, 9))
HEADS: Final = 4
# One-token rows, rows at the edges of the tiles of 16, 32, 64 and 128 tokens, and the longest that fit.
LENGTHS: Final = (3, 3, 7, 15, 16, 17, 28, 28, 31, 32, 33, 63, 64, 65, 90, 127, 128, 129, 200, 512)
DRY_LENGTHS: Final = (3, 7, 28, 29)
# Largest differences of a probability from fp32 on a CPU.
BARS: Final = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 5e-3}
LEAST_SAME_LABELS: Final = 0.99
ATTENTION_BAR: Final = 0.05
# Rows in one call, more than fit a grid of 16 bits, each as short as a pair can be.
MANY_ROWS: Final = 70_000


@torch.inference_mode()
def attention(bench: Bench) -> Sequence[Figure]:
    """Packed attention against fp32 rectangles: head sizes, strided input, queries of all tokens and of [CLS] alone."""
    if not bench.dry and bench.capability < BF16_CAPABILITY:
        raise SkippedError("packed attention needs a card of capability 8.0")
    torch.manual_seed(0)
    runs = DRY_RUNS if bench.dry else RUNS
    lengths = [run.length for run in runs for _ in range(run.rows)]
    ends = np.cumsum([0, *lengths])
    attend = _row_by_row if bench.dry else flash_attention
    packed = PackedAttention(torch.from_numpy(ends.astype(np.int32)).to(bench.where), max(lengths), HEADS, attend)
    first = torch.from_numpy(ends[:-1]).to(bench.where)
    figures = []
    for size in HEAD_SIZES:
        qkv_T3H = torch.randn(int(ends[-1]), 3 * HEADS * size, device=bench.where).bfloat16()
        query_TH, key_TH, value_TH = qkv_T3H.chunk(3, dim=1)
        differences = []
        for query_XH in (query_TH, query_TH.index_select(0, first)):
            exact_XH = RectangleAttention(runs, HEADS)(*(part.float() for part in (query_XH, key_TH, value_TH)))
            differences.append(float((packed(query_XH, key_TH, value_TH).float() - exact_XH).abs().max()))
        figures.append(Figure(f"heads of {size}: largest difference", max(differences), most=ATTENTION_BAR))
    return figures


def _row_by_row(
    query_XAD: Tensor, key_TAD: Tensor, value_TAD: Tensor, queries_P: Tensor, tokens_P: Tensor, *_: int
) -> Tensor:
    """The result of packed attention, on any device."""
    sizes = (queries_P.diff().tolist(), tokens_P.diff().tolist(), tokens_P.diff().tolist())
    rows = zip(
        *(part.split(size) for part, size in zip((query_XAD, key_TAD, value_TAD), sizes, strict=True)), strict=True
    )
    contexts = [
        functional.scaled_dot_product_attention(*(part.transpose(0, 1) for part in row)).transpose(0, 1) for row in rows
    ]
    return torch.cat(contexts)


def logits(bench: Bench) -> Sequence[Figure]:
    """Probabilities and labels of the card against fp32 on the CPU: odd lengths, and real pairs."""
    precisions = [str(each) for each in Precision if str(each) in BARS and _takes(bench, str(each))]
    figures = []
    for name in (BUILTIN, "base"):
        checkpoint = bench.checkpoint(name)
        lengths = np.array(DRY_LENGTHS if bench.dry else LENGTHS)
        odd = random_pairs(lengths, checkpoint.shape.vocab_size)
        expected = _probabilities(bench, checkpoint, odd, Precision.FP32, DeviceKind.CPU)
        for precision in precisions:
            computed = _probabilities(bench, checkpoint, odd, Precision(precision), bench.device)
            difference = float(np.abs(computed - expected).max())
            figures.append(
                Figure(f"{name}, {precision}: largest difference of a probability", difference, most=BARS[precision])
            )
    checkpoint = bench.checkpoint(BUILTIN)
    real = tokenized(checkpoint, pairs.read_texts(pairs.BUILTIN_PAIRS).slice(0, 24 if bench.dry else None))
    expected = _probabilities(bench, checkpoint, real, Precision.FP32, DeviceKind.CPU).argmax(axis=1)
    for precision in precisions:
        labels = _probabilities(bench, checkpoint, real, Precision(precision), bench.device).argmax(axis=1)
        share = float((labels == expected).mean())
        least = 1.0 if precision == "fp32" else LEAST_SAME_LABELS
        figures.append(Figure(f"{len(real.lengths)} real pairs, {precision}: same label", share, least=least))
    return figures


def _takes(bench: Bench, precision: str) -> bool:
    """Whether a figure in `precision` means something on the card."""
    if precision == "bf16":
        return bench.dry or bench.capability >= BF16_CAPABILITY
    return precision == "fp32" or not bench.dry


def _probabilities(
    bench: Bench, checkpoint: Checkpoint, encoded: EncodedPairs, precision: Precision, device: DeviceKind
) -> NDArray[np.float32]:
    engine = bench.engine(checkpoint, precision, device)
    return softmax(engine.logits(encoded, micro_batches(encoded.lengths, bench.budget(checkpoint.shape))))


def waits(bench: Bench) -> Sequence[Figure]:
    """Whether any operation of a pass waits for the device: torch raises an error where one does."""
    checkpoint = bench.checkpoint("base")
    engine, encoded = bench.engine(checkpoint, bench.half), bench.snli_like(4000, checkpoint.shape)
    batches = micro_batches(encoded.lengths, bench.budget(checkpoint.shape))
    engine.logits(encoded, batches)
    with nullcontext() if bench.dry else _waiting_raises():
        rows = sum(len(batch.rows_B) for batch in engine.micro_batch_logits(encoded, batches))
    return [Figure(f"{len(batches)} passes without a wait: share of rows", rows / len(encoded.lengths), least=1)]


@contextmanager
def _waiting_raises() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def bits(bench: Bench) -> str:
    """A digest of the logits of a unit."""
    checkpoint = bench.checkpoint("base")
    engine, encoded = bench.engine(checkpoint, bench.half), bench.snli_like(16_384, checkpoint.shape)
    logits_RC = engine.logits(encoded, micro_batches(encoded.lengths, bench.budget(checkpoint.shape)))
    return hashlib.sha256(logits_RC.tobytes()).hexdigest()[:16]


def determinism(bench: Bench) -> Sequence[Figure]:
    """The same bits twice here, and in another process."""
    here = [bits(bench) for _ in range(2)]
    command = [sys.executable, "-m", "benchmarks.gpu", "--bits", *(["--dry"] if bench.dry else [])]
    there = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if there.returncode:
        raise RuntimeError(f"the other process failed: {there.stderr[-300:]}")
    digests = {*here, there.stdout.split()[-1]}
    return [Figure("digest of the logits", here[0]), Figure("different digests of three", float(len(digests)), most=1)]


def memory(bench: Bench) -> Sequence[Figure]:
    """A card whose memory others fill: a pass that does not fit is computed in parts, and every row has its logits."""
    checkpoint = bench.checkpoint("base")
    engine, encoded = bench.engine(checkpoint, bench.half), bench.snli_like(4000, checkpoint.shape)
    rows_B = bench.middle_batch(encoded, bench.budget(checkpoint.shape))
    (whole,) = engine.micro_batch_logits(encoded, [rows_B])
    if not bench.dry:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        consumed = list(engine.micro_batch_logits(encoded, [rows_B]))
        peak = torch.cuda.max_memory_allocated() - before
        del consumed
    with nullcontext() if bench.dry else _filled(leaving=peak // 2):
        (parts,) = engine.micro_batch_logits(encoded, [rows_B])
    whole_BC, parts_BC = (each.logits_BC[np.argsort(each.rows_B)] for each in (whole, parts))
    return [
        Figure("memory of a pass", 0.0 if bench.dry else peak / 1e6, "MB"),
        Figure("with half of it left: the pass was halved (1 is yes)", float(parts.halved), least=1, on_card=True),
        Figure("rows that fitted", float(parts.fitted_B.mean()), least=1),
        Figure("largest difference of a logit", float(np.abs(whole_BC - parts_BC).max()), most=0.1),
    ]


@contextmanager
def _filled(leaving: int) -> Iterator[None]:
    """All memory of the card but `leaving` bytes belongs to others."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    filler = torch.empty(free - leaving, dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del filler
        torch.cuda.empty_cache()


def many_rows(bench: Bench) -> Sequence[Figure]:
    """More than 65,535 short rows, which fit the tokens of one pass on a large card."""
    checkpoint = bench.checkpoint("small")
    count = DRY_LENGTHS[0] * 100 if bench.dry else MANY_ROWS
    encoded = random_pairs(np.full(count, 3), checkpoint.shape.vocab_size)
    engine = bench.engine(checkpoint, bench.half)
    logits_RC = engine.logits(encoded, micro_batches(encoded.lengths, 3 * count))
    return [Figure(f"finite logits of {count:,} rows", float(np.isfinite(logits_RC).all(axis=1).mean()), least=1)]
