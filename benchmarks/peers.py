"""The in-process peers, each as its own documentation uses it and with the best of its ordinary settings.

All in torch's threads, one for each core. Shapes: R pairs, C = 3 labels, B pairs of a batch, L tokens of its longest.
"""

# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TextClassificationPipeline, pipeline

from albert_infer.classify.probabilities import softmax
from albert_infer.schema import DeviceKind, NliLabel, Precision
from benchmarks.contender import Absent, Contender, Labelling, Pairs, not_installed, rows_as_before
from benchmarks.devices import FLOAT_DTYPES

# What the documentation of all of them uses on CPUs.
BATCH_PAIRS: Final = 32
PIPELINE_NAME: Final = "Hugging Face pipeline, input order"
PIPELINE_SORTED_NAME: Final = "Hugging Face pipeline, sorted"

# Model inputs (B, L) by their names.
Batch = dict[str, torch.Tensor]
# Logits (R, C, float32) of the rows of all batches, one after another.
BatchLogits = Callable[[Sequence[Batch]], NDArray[np.float32]]


def pipeline_contenders(model: Path) -> list[Contender]:
    """`pipeline("text-classification")` in fp32: pairs in input order, and sorted by length beforehand."""
    classify = hugging_face_pipeline(model)
    settings = f"fp32, batch_size={BATCH_PAIRS}, padded to the longest of the batch, tokenizing timed"

    def in_input_order(pairs: Pairs) -> Labelling:
        return lambda: pipeline_probabilities(classify, pairs)

    def sorted_by_length(pairs: Pairs) -> Labelling:
        order_R = length_order(classify.tokenizer, pairs)
        ordered = [pairs[row] for row in order_R]
        return lambda: rows_as_before(pipeline_probabilities(classify, ordered), order_R)

    return [
        Contender(PIPELINE_NAME, settings, Precision.FP32, in_input_order),
        Contender(PIPELINE_SORTED_NAME, f"{settings}, sorted by tokens", Precision.FP32, sorted_by_length),
    ]


def cross_encoder_contenders(
    model: Path, precision: str, device: DeviceKind, batches: Sequence[int] = (BATCH_PAIRS,)
) -> list[Contender | Absent]:
    """sentence-transformers' `CrossEncoder.predict`, which sorts the pairs itself: a row for each size of batch."""
    if reason := not_installed("sentence_transformers"):
        return [Absent(cross_encoder_name(precision, size), precision, reason) for size in batches]
    # Imported here because sentence-transformers is an extra that the other peers do without.
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(str(model), device=device.value, model_kwargs={"dtype": FLOAT_DTYPES[precision]})

    def contender(size: int) -> Contender:
        settings = f"{precision}, batch_size={size}, sorts by characters itself, tokenizing timed"
        return Contender(cross_encoder_name(precision, size), settings, precision, partial(_predicting, encoder, size))

    return [contender(size) for size in batches]


def cross_encoder_name(precision: str, size: int = BATCH_PAIRS) -> str:
    """The row of `CrossEncoder.predict` with batches of `size` pairs."""
    return f"CrossEncoder.predict, {precision}, batches of {size}"


def model_contender(
    model: Path, precision: str, device: DeviceKind = DeviceKind.CPU, size: int = BATCH_PAIRS
) -> Contender:
    """Hugging Face's model called directly on batches that were tokenized, sorted and padded beforehand."""
    albert = AutoModelForSequenceClassification.from_pretrained(model, dtype=FLOAT_DTYPES[precision]).eval()
    logits = partial(_logits, albert.to(device.value))
    return batches_contender(model_name(precision, size), precision, "", model, logits, size)


def batches_contender(
    name: str, precision: str, settings: str, model: Path, logits: BatchLogits, size: int = BATCH_PAIRS
) -> Contender:
    """Something that computes `logits` of batches of `size` that were tokenized, sorted and padded beforehand."""
    tokenizer = AutoTokenizer.from_pretrained(model)

    def sorted_by_length(pairs: Pairs) -> Labelling:
        order_R = length_order(tokenizer, pairs)
        batches = padded_batches(tokenizer, [pairs[row] for row in order_R], size)
        return lambda: rows_as_before(softmax(logits(batches)), order_R)

    told = f"{precision}, {settings}batches of {size}, sorted by tokens, tokenizing not timed"
    return Contender(name, told, precision, sorted_by_length)


def model_name(precision: str, size: int = BATCH_PAIRS) -> str:
    """The row of the model called directly on batches of `size`."""
    return f"Hugging Face model, {precision}, sorted{'' if size == BATCH_PAIRS else f', batches of {size}'}"


def hugging_face_pipeline(model: Path) -> TextClassificationPipeline:
    """The pipeline that stands alone here and inside Ray's recipe, in fp32."""
    return pipeline(
        "text-classification",
        model=str(model),
        tokenizer=str(model),
        device="cpu",
        dtype=torch.float32,
        batch_size=BATCH_PAIRS,
        top_k=None,
        padding=True,
        truncation="only_first",
    )


def pipeline_probabilities(classify: TextClassificationPipeline, pairs: Pairs) -> NDArray[np.float32]:
    """Probabilities (R, C) in the order of `pairs`."""
    # Its annotation is that of one text: for several, `top_k=None` gives a list of scores each.
    answers: Any = classify([{"text": premise, "text_pair": hypothesis} for premise, hypothesis in pairs])
    by_label = [{score["label"]: score["score"] for score in answer} for answer in answers]
    return np.array([[scores[label] for label in NliLabel] for scores in by_label], dtype=np.float32)


def length_order(tokenizer: Any, pairs: Pairs) -> NDArray[np.int64]:
    """Row numbers of `pairs`, shortest first by tokens (R); equal lengths keep their order."""
    lengths_R = [len(ids) for ids in _encoded(tokenizer, pairs)["input_ids"]]
    return np.argsort(lengths_R, kind="stable")


def padded_batches(tokenizer: Any, pairs: Pairs, size: int = BATCH_PAIRS) -> list[Batch]:
    """Model inputs (B, L) for consecutive runs of `size` pairs."""
    return [
        dict(_encoded(tokenizer, pairs[first : first + size], padding=True, return_tensors="pt"))
        for first in range(0, len(pairs), size)
    ]


def _encoded(tokenizer: Any, pairs: Pairs, **settings: Any) -> Any:
    premises, hypotheses = zip(*pairs, strict=True)
    return tokenizer(list(premises), list(hypotheses), truncation="only_first", **settings)


def _predicting(encoder: Any, size: int, pairs: Pairs) -> Labelling:
    def predictions() -> NDArray[np.float32]:
        predicted = encoder.predict(list(pairs), batch_size=size, apply_softmax=True, show_progress_bar=False)
        return np.asarray(predicted, dtype=np.float32)

    return predictions


@torch.inference_mode()
def _logits(albert: Any, batches: Sequence[Batch]) -> NDArray[np.float32]:
    on_device = ({name: tensor.to(albert.device) for name, tensor in batch.items()} for batch in batches)
    logits_RC: NDArray[np.float32] = torch.cat([albert(**batch).logits for batch in on_device]).float().cpu().numpy()
    return logits_RC
