"""Ways to rank topics for texts: Hugging Face's zero-shot pipeline, our engine alone, and a unit of our job.

Each way gets the same texts, shortest first, and returns the same scores. Shapes: X texts, C candidates.
"""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from transformers import ZeroShotClassificationPipeline, pipeline

from albert_infer import storage
from albert_infer.classify.batching import micro_batches
from albert_infer.classify.classification import CPU_BATCH_TOKENS, Classifier
from albert_infer.classify.probabilities import softmax
from albert_infer.classify.rows import RowClassifier
from albert_infer.config import LabelSettings
from albert_infer.engine.albert import AlbertEngine
from albert_infer.job.planning import basis_of
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.output.commit import commit_unit
from albert_infer.pipeline.progress import ProgressCounts
from albert_infer.pipeline.unit import classified_unit, prepared_unit, source_of
from albert_infer.read.decoding import PairReader
from albert_infer.read.planning import make_plan
from albert_infer.schema import DEFAULT_TEMPLATE, PREMISE, TOP, TOP_SCORES, DeviceKind, NliLabel, Precision
from benchmarks import checkpoint, ours, pairs
from benchmarks.devices import FLOAT_DTYPES

# A hundred candidates: every subject alone, then every subject in every region.
SUBJECTS: Final = (
    *("sport", "politics", "music", "travel", "food", "health", "science", "weather", "money", "education"),
    *("art", "history", "animals", "fashion", "cars", "work", "family", "crime", "religion", "technology"),
)
REGIONS: Final = ("", " in Africa", " in Asia", " in Europe", " in America")
# Sizes of the pipeline's batches, in pairs, of which it gets the best.
BATCHES: Final = (1, 8, 16, 32, 64)
# The first try of each warms it up.
TRIES: Final = 2
# Texts that choose it.
TRIAL_TEXTS: Final = 10


@dataclass(frozen=True)
class Ranked:
    """Texts that were ranked once: the seconds of each timed part by its name, and the scores (X, C, float32)."""

    seconds: Mapping[str, float]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """One way to rank topics. `prepare` does what is not timed. `settings` are those of each timed part by its name."""

    precision: str
    settings: Mapping[str, str]
    prepare: Callable[[Sequence[str]], Callable[[], Ranked]]


@dataclass(frozen=True)
class Steps:
    """A unit of a job: the seconds of its three steps, those in which the device computed, and the labelled rows."""

    preparing: float
    classifying: float
    committing: float
    computing: float
    rows: pa.Table

    @property
    def seconds(self) -> float:
        """Of the three steps."""
        return self.preparing + self.classifying + self.committing


def candidates(count: int) -> tuple[str, ...]:
    """The first `count` of a hundred candidates. Raises ValueError for a larger number."""
    names = [subject + region for region, subject in product(REGIONS, SUBJECTS)]
    if count > len(names):
        raise ValueError(f"there are {len(names)} candidates, not {count}")
    return tuple(names[:count])


def texts_of(data: Path, count: int) -> list[str]:
    """`count` different premises of `data`, shortest first by tokens; numbered where there are fewer."""
    premises = list(dict.fromkeys(pairs.read_texts(data)[PREMISE].to_pylist()))
    rounds = range(-(-count // len(premises)))
    texts = [f"{text} {number}" if number else text for number in rounds for text in premises][:count]
    lengths = [len(encoding) for encoding in checkpoint.tokenizer().encode_batch_fast(texts)]
    return [texts[index] for index in np.argsort(lengths, kind="stable")]


def pipeline_name(precision: str) -> str:
    """The row of Hugging Face's pipeline."""
    return f"Hugging Face zero-shot pipeline, {precision}"


def engine_name(precision: str) -> str:
    """The row of the engine on framed pairs."""
    return f"our engine, framed pairs, {precision}"


def rows_name(precision: str) -> str:
    """The row of `RowClassifier` on prepared rows."""
    return f"our classifier, prepared texts, {precision}"


def unit_name(precision: str) -> str:
    """The row of a whole unit."""
    return f"our unit, from file to file, {precision}"


def pipeline_way(model: Path, precision: Precision, names: tuple[str, ...], trial: Sequence[str]) -> Way:
    """`pipeline("zero-shot-classification")` with the size of batches that is fastest for the `trial` texts."""
    classify = pipeline(
        "zero-shot-classification", model=str(model), tokenizer=str(model), device="cpu", dtype=FLOAT_DTYPES[precision]
    )
    seconds = {size: _best_seconds(partial(_pipeline_scores, classify, trial, names, size)) for size in BATCHES}
    best = min(seconds, key=lambda size: seconds[size])
    tried = ", ".join(f"{size}: {len(trial) * len(names) / each:.1f}" for size, each in seconds.items())
    name = pipeline_name(precision)
    settings = f"{precision}, batch_size={best}, sorted by tokens, tokenizing timed (pairs/s by batch: {tried})"

    def prepare(texts: Sequence[str]) -> Callable[[], Ranked]:
        return lambda: Ranked(*_timed(name, lambda: _pipeline_scores(classify, texts, names, best)))

    return Way(precision, {name: settings}, prepare)


def engine_way(loaded: Checkpoint, precision: Precision, names: tuple[str, ...]) -> Way:
    """`AlbertEngine` on the same pairs, framed and in micro-batches beforehand."""
    engine = AlbertEngine(loaded.shape, loaded.weights, precision=precision, device=DeviceKind.CPU, threads=None)
    entailment, name = loaded.label_order.index(NliLabel.ENTAILMENT), engine_name(precision)

    def prepare(texts: Sequence[str]) -> Callable[[], Ranked]:
        hypotheses = [DEFAULT_TEMPLATE.replace("{}", candidate) for candidate in names]
        encoded = ours.encoded_pairs(loaded, list(product(texts, hypotheses)))
        batches = micro_batches(encoded.lengths, CPU_BATCH_TOKENS)

        def scores() -> NDArray[np.float32]:
            return softmax(engine.logits(encoded, batches)[:, entailment].reshape(len(texts), len(names)))

        return lambda: Ranked(*_timed(name, scores))

    return Way(precision, {name: f"{precision}, tokenizing and framing not timed"}, prepare)


def unit_way(loaded: Checkpoint, precision: Precision, names: tuple[str, ...], scratch: Path) -> Way:
    """The steps of a unit, as the inline executor calls them; classifying is timed alone, too."""
    run = unit_runner(loaded, precision, names, scratch)

    def prepare(texts: Sequence[str]) -> Callable[[], Ranked]:
        once = run(texts)

        def ranked() -> Ranked:
            steps = once()
            seconds = {rows_name(precision): steps.classifying, unit_name(precision): steps.seconds}
            return Ranked(seconds, _ordered_scores(steps.rows[TOP], steps.rows[TOP_SCORES], names))

        return ranked

    settings = {
        rows_name(precision): f"{precision}, framing, engine and the ranking of each text",
        unit_name(precision): f"{precision}, reads, prepares, classifies and commits a Parquet file; no process starts",
    }
    return Way(precision, settings, prepare)


def unit_runner(
    loaded: Checkpoint, precision: Precision, names: tuple[str, ...], scratch: Path
) -> Callable[[Sequence[str]], Callable[[], Steps]]:
    """Returns a function that writes texts as an input file, and returns a function that labels them as one unit."""
    classifier = Classifier.load(loaded, precision=precision, device=DeviceKind.CPU, max_batch_tokens=CPU_BATCH_TOKENS)

    def prepare(texts: Sequence[str]) -> Callable[[], Steps]:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        (folder / "in").mkdir()
        pq.write_table(pa.table({PREMISE: pa.array(texts)}), folder / "in" / "texts.parquet")
        settings = LabelSettings(
            input=str(folder / "in"),
            output=str(folder / "out"),
            unit_rows=len(texts) * len(names),
            candidates=names,
            top_k=len(names),
        )
        basis = basis_of(settings, storage.open_folder(settings.output), lambda *_, **__: loaded)
        survey, columns = basis.survey, basis.survey.columns
        [unit] = make_plan(survey, settings, {"model": loaded.recipe, "precision": precision}, CPU_BATCH_TOKENS).units
        assert columns.expansion is not None  # noqa: S101  (for the type checker: the settings have candidates)
        rows = RowClassifier(classifier, columns.expansion, basis.tokenizer.frame)
        reader = PairReader(survey.folder, columns)

        def once() -> Steps:
            # A unit is committed once into a folder.
            output = storage.open_folder(tempfile.mkdtemp(dir=folder))
            board = ProgressCounts()
            begun = time.perf_counter()
            prepared = prepared_unit(unit, reader, basis.tokenizer)
            ready = time.perf_counter()
            labelled = classified_unit(prepared, rows, board)
            classified = time.perf_counter()
            commit_unit(output, unit.unit_id, source_of(unit, survey.folder), labelled, columns)
            committed = time.perf_counter()
            computing = board.so_far().done.forward_seconds
            return Steps(ready - begun, classified - ready, committed - classified, computing, labelled)

        return once

    return prepare


def _timed(name: str, scores: Callable[[], NDArray[np.float32]]) -> tuple[dict[str, float], NDArray[np.float32]]:
    begun = time.perf_counter()
    result = scores()
    return {name: time.perf_counter() - begun}, result


def _best_seconds(scores: Callable[[], NDArray[np.float32]]) -> float:
    return min(_timed("", scores)[0][""] for _ in range(TRIES))


def _pipeline_scores(
    classify: ZeroShotClassificationPipeline, texts: Sequence[str], names: tuple[str, ...], size: int
) -> NDArray[np.float32]:
    answers: Any = classify(
        list(texts),
        candidate_labels=list(names),
        hypothesis_template=DEFAULT_TEMPLATE,
        multi_label=False,
        batch_size=size,
    )
    labels, scores = ([answer[key] for answer in answers] for key in ("labels", "scores"))
    return _ordered_scores(pa.chunked_array([labels]), pa.chunked_array([scores]), names)


def _ordered_scores(ranked: pa.ChunkedArray, scores: pa.ChunkedArray, names: tuple[str, ...]) -> NDArray[np.float32]:
    """The scores (X, C) in the order of `names`, of all names of each text, best first."""
    index_XC = pc.index_in(pc.list_flatten(ranked), pa.array(names)).to_numpy().reshape(-1, len(names))
    ranked_XC = pc.list_flatten(scores).to_numpy().reshape(-1, len(names)).astype(np.float32)
    scores_XC: NDArray[np.float32] = np.empty_like(ranked_XC)
    np.put_along_axis(scores_XC, index_XC.astype(np.int64), ranked_XC, axis=1)
    return scores_XC
