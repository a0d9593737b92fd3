"""Steps on the peers, each at its best ordinary setting on a card, on the same pairs of real words.

Shapes: R pairs, B pairs of a batch, L tokens of its longest, C labels.
"""
# ruff: noqa: N803, N806 - arrays end in their shape

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AlbertForSequenceClassification, BertConfig, BertForSequenceClassification

from albert_infer.classify.batching import micro_batches
from albert_infer.schema import EncodedPairs
from benchmarks import pairs, peers
from benchmarks.contender import Contender, Labelling, not_installed
from benchmarks.devices import FLOAT_DTYPES, finish
from benchmarks.gpu import texts
from benchmarks.gpu.bench import DRY_PAIRS, UNIT_PAIRS, Bench, seconds_of
from benchmarks.gpu.figures import Figure, SkippedError

FP16: Final = "fp16"
BATCHES: Final = (64, 256, 1024)
DRY_BATCHES: Final = (16, 32)
# Of the batches of a compiled model, which compiles for each new size.
COMPILED_BATCH: Final = 256
LEAST_OVER_CROSS_ENCODER: Final = 3.0

# Inputs of a model (B, L), by name.
Batch = Mapping[str, torch.Tensor]


def hugging_face(bench: Bench) -> Sequence[Figure]:
    """Hugging Face's model in fp16 and bf16: pairs sorted by length, batches on the device beforehand."""
    encoded = _encoded(bench)
    ours, labels = _our_speed(bench, encoded)
    figures = [Figure("our engine", ours, "pairs/s")]
    for precision in _half_precisions(bench):
        model = _albert(bench, precision)
        speeds = {}
        for size in DRY_BATCHES if bench.dry else BATCHES:
            batches = padded_batches(encoded, size, bench.where)
            speeds[size] = len(encoded.lengths) / seconds_of(partial(_logits, model, batches), bench.device, 1)
        best = max(speeds, key=lambda size: speeds[size])
        theirs = _logits(model, padded_batches(encoded, best, bench.where)).argmax(axis=1)
        figures += [
            *(Figure(f"{precision}, batches of {size}", speed, "pairs/s") for size, speed in speeds.items()),
            Figure(f"{precision}: ours against its best", ours / speeds[best], "times", least=1.0, on_card=True),
            Figure(f"{precision}: same label as ours", float((theirs == labels[_sorted(encoded)]).mean())),
        ]
    return figures


def compiled(bench: Bench) -> Sequence[Figure]:
    """Hugging Face's model by `torch.compile`, with torch's own attention: speed, and seconds until it computes."""
    encoded = _encoded(bench)
    ours, _ = _our_speed(bench, encoded)
    # On a CPU the graph alone: a C++ compiler takes half a minute for the rest.
    backend = "eager" if bench.dry else "inductor"
    model = torch.compile(_albert(bench, str(bench.half)), dynamic=True, backend=backend)
    batches = padded_batches(encoded, DRY_BATCHES[0] if bench.dry else COMPILED_BATCH, bench.where)
    began = time.perf_counter()
    _logits(model, batches)
    finish(bench.device)
    first = time.perf_counter() - began
    seconds = seconds_of(partial(_logits, model, batches), bench.device, 1)
    speed = len(encoded.lengths) / seconds
    return [
        Figure("our engine", ours, "pairs/s"),
        Figure("compiled", speed, "pairs/s"),
        Figure("seconds until it computes", first - seconds, "s"),
        Figure("ours against it", ours / speed, "times", least=1.0, on_card=True),
    ]


def bert(bench: Bench) -> Sequence[Figure]:
    """A BERT of equal operations, random weights: every batch holds pairs of one length, so nothing is padded."""
    encoded = _encoded(bench)
    ours, _ = _our_speed(bench, encoded)
    shape = bench.checkpoint("base").shape
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act")
    config = BertConfig.from_dict({**{name: getattr(shape, name) for name in sizes}, "num_labels": 3})
    model: Any = BertForSequenceClassification(config)
    model.eval()
    model.to(bench.where, FLOAT_DTYPES[bench.half])
    size = DRY_BATCHES[0] if bench.dry else BATCHES[-1]
    batches = padded_batches(encoded, size, bench.where, one_length=True)
    without_mask = [{name: batch[name] for name in batch if name != "attention_mask"} for batch in batches]
    speed = len(encoded.lengths) / seconds_of(partial(_logits, model, without_mask), bench.device, 1)
    return [
        Figure("our engine", ours, "pairs/s"),
        Figure(f"BERT in {bench.half}, without padding", speed, "pairs/s"),
        Figure("ours against it", ours / speed, "times", least=1.0, on_card=True),
    ]


def cross_encoder(bench: Bench) -> Sequence[Figure]:
    """sentence-transformers' `CrossEncoder` in fp16, tokenizing included, at its best batch."""
    if reason := not_installed("sentence_transformers"):
        raise SkippedError(reason)
    precision = "fp32" if bench.dry else FP16
    encoded, rows = _encoded(bench), pairs.text_pairs(_texts(bench))
    ours, labels = _our_speed(bench, encoded)
    speeds: dict[str, float] = {}
    probabilities: list[NDArray[np.float32]] = []
    contenders = peers.cross_encoder_contenders(
        bench.folder("base"), precision, bench.device, DRY_BATCHES if bench.dry else BATCHES
    )
    for contender in contenders:
        if isinstance(contender, Contender):
            labelling = contender.prepare(rows)
            seconds = seconds_of(partial(_kept, labelling, probabilities), bench.device, 1)
            speeds[contender.name] = len(rows) / seconds
    return [
        Figure("our engine", ours, "pairs/s"),
        *(Figure(name, speed, "pairs/s") for name, speed in speeds.items()),
        Figure(
            "ours against its best",
            ours / max(speeds.values()),
            "times",
            least=LEAST_OVER_CROSS_ENCODER,
            on_card=True,
        ),
        Figure("same label as ours", float((probabilities[-1].argmax(axis=1) == labels).mean())),
    ]


def _kept(labelling: Labelling, probabilities: list[NDArray[np.float32]]) -> None:
    probabilities.append(labelling())


def padded_batches(encoded: EncodedPairs, size: int, device: torch.device, *, one_length: bool = False) -> list[Batch]:
    """Model inputs of consecutive pairs in order of length, `size` at most; `one_length` keeps lengths apart."""
    order_R = _sorted(encoded)
    lengths_R = encoded.lengths[order_R]
    cuts = np.arange(size, len(order_R), size)
    if one_length:
        runs = np.split(np.arange(len(order_R)), np.flatnonzero(np.diff(lengths_R)) + 1)
        parts = [order_R[part] for run in runs for part in np.array_split(run, -(-len(run) // size))]
    else:
        parts = np.split(order_R, cuts)
    return [_batch(encoded, rows_B, device) for rows_B in parts]


def _batch(encoded: EncodedPairs, rows_B: NDArray[np.int64], device: torch.device) -> Batch:
    lengths_B = encoded.lengths[rows_B]
    positions_L = np.arange(lengths_B.max())
    inside_BL = positions_L < lengths_B[:, np.newaxis]
    tokens_BL = np.minimum(encoded.offsets[rows_B][:, np.newaxis] + positions_L, len(encoded.input_ids) - 1)
    arrays = {
        "input_ids": np.where(inside_BL, encoded.input_ids[tokens_BL], 0),
        "attention_mask": inside_BL,
        "token_type_ids": inside_BL & (positions_L >= encoded.premise_segment_tokens[rows_B][:, np.newaxis]),
    }
    return {name: torch.from_numpy(array.astype(np.int64)).to(device) for name, array in arrays.items()}


def _sorted(encoded: EncodedPairs) -> NDArray[np.int64]:
    return np.argsort(encoded.lengths, kind="stable")


@torch.inference_mode()
def _logits(model: Callable[..., Any], batches: Sequence[Batch]) -> NDArray[np.float32]:
    logits_RC: NDArray[np.float32] = torch.cat([model(**batch).logits for batch in batches]).float().cpu().numpy()
    return logits_RC


def _albert(bench: Bench, precision: str) -> Any:
    dtype = FLOAT_DTYPES[precision]
    model: Any = AlbertForSequenceClassification.from_pretrained(
        bench.folder("base"), dtype=dtype, attn_implementation="sdpa"
    )
    model.eval()
    return model.to(bench.where)


def _half_precisions(bench: Bench) -> Sequence[str]:
    if bench.dry:
        return [str(bench.half)]
    return [FP16, "bf16"] if bench.half == "bf16" else [FP16]


def _texts(bench: Bench) -> Any:
    return texts.unit_texts(DRY_PAIRS if bench.dry else UNIT_PAIRS)


def _encoded(bench: Bench) -> EncodedPairs:
    return texts.tokenized(bench.checkpoint("base"), _texts(bench))


def _our_speed(bench: Bench, encoded: EncodedPairs) -> tuple[float, NDArray[np.int64]]:
    """Pairs a second of our engine in half precision, and the label of each pair (R)."""
    checkpoint = bench.checkpoint("base")
    engine = bench.engine(checkpoint, bench.half)
    batches = micro_batches(encoded.lengths, bench.budget(checkpoint.shape))
    seconds = seconds_of(lambda: engine.logits(encoded, batches), bench.device, 2)
    return len(encoded.lengths) / seconds, engine.logits(encoded, batches).argmax(axis=1)
