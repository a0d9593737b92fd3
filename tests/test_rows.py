"""Rows with several pairs have the results of Hugging Face, of SummaC, and of their pairs as rows of their own."""
# ruff: noqa: S106 - the name of a special token is no password

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from checkpoints import Checkpoint, random_checkpoint
from pairs import pair_table, wordpiece
from transformers import PreTrainedTokenizerFast, ZeroShotClassificationPipeline

from albert_infer.classify.classification import Classifier
from albert_infer.classify.rows import RowClassifier
from albert_infer.labeler import Labeler
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.output.pairs import pair_tables
from albert_infer.prepare.parts import append_parts
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import (
    LABEL,
    NEEDS_REVIEW,
    PREMISE,
    PROBABILITIES,
    REJECTION,
    ComputedBatch,
    DeviceKind,
    Expansion,
    FoldRule,
    HypothesisSet,
    LongPremiseRule,
    NliLabel,
    PairColumns,
    Precision,
    conformed,
)

TOLERANCE: Final = 1e-5
TEMPLATE: Final = "the man {}."
CANDIDATES: Final = ("plays", "sleeps", "runs in the park", "a dog 7")
SET: Final = HypothesisSet(CANDIDATES, tuple(TEMPLATE.format(name) for name in CANDIDATES))
TEXTS: Final = ("a man plays music", "the dog sleeps outside the park", "a woman", "a man plays music")
DOCUMENTS: Final = ("A man plays music. The dog sleeps outside! A woman runs.", "7 dogs run.", "A man. A dog.")
SUMMARIES: Final = ("A man plays. The dog runs.", "The dogs sleep. A woman plays music. A man.", "A woman runs.")
LONG: Final = "the man sleeps outside " * 30

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    names = {code: str(label) for code, label in enumerate(NliLabel)}
    saved = random_checkpoint(tmp_path_factory.mktemp("checkpoint"), id2label=names)
    (saved.folder / "tokenizer.json").write_text(wordpiece().to_str())
    return saved


def tables_of(
    folder: Path,
    pairs: pa.Table,
    expansion: Expansion,
    *,
    long_premise: LongPremiseRule = "truncate",
    max_length: int | None = None,
    review_below: float | None = None,
    listener: Any = None,
) -> tuple[pa.Table, pa.Table]:
    """The table of scores of all rows, with rejections, and the table of pairs."""
    checkpoint = load_checkpoint(str(folder))
    tokenizer: PairTokenizer = checkpoint.tokenizer(max_length=max_length, long_premise=long_premise)
    classifier = Classifier.load(
        checkpoint, precision=Precision.FP32, device=DeviceKind.CPU, max_batch_tokens=64, review_below=review_below
    )
    columns = PairColumns(expansion=expansion, with_windows=long_premise == "window", review_below=review_below)
    prepared = append_parts(mark_rejected(pairs), tokenizer, expansion)
    rows = RowClassifier(classifier, expansion, tokenizer.frame)
    classified = rows.classified(prepared, *([listener] if listener else []))
    good = classified.filter(classified[REJECTION].is_null())
    conformed(good, columns.labelled)
    return classified, pa.concat_tables(pair_tables(good, columns)) if expansion.publishes_pairs else good


def premises(*texts: str | None) -> pa.Table:
    return pa.table({PREMISE: pa.array(texts, pa.string())})


@pytest.mark.parametrize("rule", [FoldRule.TOPICS, FoldRule.TOPICS_MULTI])
def test_topics_are_those_of_hugging_faces_pipeline(rule: FoldRule, saved: Checkpoint) -> None:
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=wordpiece(),
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    saved.model.config.label2id = {str(label): code for code, label in enumerate(NliLabel)}
    pipeline = ZeroShotClassificationPipeline(model=saved.model, tokenizer=tokenizer)  # type: ignore[no-untyped-call]
    theirs = pipeline(
        list(TEXTS),
        candidate_labels=list(CANDIDATES),
        hypothesis_template=TEMPLATE,
        multi_label=rule is FoldRule.TOPICS_MULTI,
    )
    expansion = Expansion(rule, hypotheses=SET, top_k=3, publish="both")
    scores, pairs = tables_of(saved.folder, premises(*TEXTS), expansion)
    for row, answer in zip(scores.to_pylist(), theirs, strict=True):
        assert row["top"] == answer["labels"][:3]
        assert row["top_scores"] == pytest.approx(answer["scores"][:3], abs=TOLERANCE)
        assert (row["best"], row["score"]) == (row["top"][0], row["top_scores"][0])
    shares = np.array(pairs["score"]).reshape(len(TEXTS), len(CANDIDATES))
    for share, answer in zip(shares, theirs, strict=True):
        by_name = dict(zip(answer["labels"], answer["scores"], strict=True))
        assert share == pytest.approx([by_name[name] for name in CANDIDATES], abs=TOLERANCE)


EXPANSIONS: Final = {
    "set": (premises(*TEXTS), Expansion(FoldRule.TOPICS, "both", SET)),
    "sentences of both": (
        pair_table(DOCUMENTS, SUMMARIES),
        Expansion(FoldRule.SUMMAC_ZS, "both", split_premise=True, split_hypothesis=True),
    ),
    "sentences of the premise": (
        pair_table(DOCUMENTS, SUMMARIES),
        Expansion(FoldRule.ANY_ENTAILMENT, "both", split_premise=True),
    ),
    "sentences of the hypothesis": (
        pair_table(DOCUMENTS, SUMMARIES),
        Expansion(FoldRule.ANY_CONTRADICTION, "both", split_hypothesis=True),
    ),
    "sentences with a set": (
        premises(*DOCUMENTS),
        Expansion(FoldRule.ENTAILMENT_FIRST, "both", SET, split_premise=True),
    ),
}


@pytest.mark.parametrize("long_premise", ["truncate", "window"])
@pytest.mark.parametrize(("given", "expansion"), EXPANSIONS.values(), ids=EXPANSIONS)
def test_pairs_are_labelled_as_rows_of_their_own(
    given: pa.Table, expansion: Expansion, long_premise: LongPremiseRule, saved: Checkpoint
) -> None:
    given = given.set_column(0, PREMISE, pa.array([LONG + text for text in given[PREMISE].to_pylist()]))
    how: dict[str, Any] = {"long_premise": long_premise, "max_length": 40}
    scores, pairs = tables_of(saved.folder, given, expansion, **how)
    alone = Labeler(saved.folder, precision="fp32", max_batch_tokens=64, **how).label(
        pairs.select([PREMISE, "hypothesis"])
    )
    assert pairs[LABEL].equals(alone[LABEL])
    for name in PROBABILITIES:
        assert np.array(pairs[name]) == pytest.approx(np.array(alone[name]), abs=TOLERANCE)
    counts = ["n_tokens", "truncated", *(["n_windows"] if long_premise == "window" else [])]
    assert all(pairs[name].equals(alone[name]) for name in counts)
    ends = np.cumsum(scores["n_pairs"].to_numpy())
    for row, (first, last) in zip(scores.to_pylist(), pairwise([0, *ends]), strict=True):
        own = pairs.slice(first, last - first).to_pydict()
        assert row["n_tokens"] == sum(own["n_tokens"])
        assert row["truncated"] == any(own["truncated"])
        assert long_premise == "truncate" or row["n_windows"] == sum(own["n_windows"])


def test_a_score_of_summac_follows_from_its_pairs(saved: Checkpoint) -> None:
    given, expansion = EXPANSIONS["sentences of both"]
    scores, pairs = tables_of(saved.folder, given, expansion)
    groups: dict[int, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    row = -1
    for pair in pairs.to_pylist():
        row += pair["premise_sentence"] == pair["hypothesis_sentence"] == 0
        groups[row][pair["hypothesis_sentence"]].append(pair)
    for index, expected in enumerate(scores.to_pylist()):
        of_hypothesis = [
            max(pair["p_entailment"] for pair in group) - max(pair["p_contradiction"] for pair in group)
            for group in groups[index].values()
        ]
        assert expected["score"] == pytest.approx(sum(of_hypothesis) / len(of_hypothesis), abs=1e-6)
        assert of_hypothesis[expected["hypothesis_sentence"]] == pytest.approx(min(of_hypothesis), abs=1e-6)


@pytest.mark.parametrize("name", ["sentences of the premise", "sentences of the hypothesis", "sentences with a set"])
def test_a_row_has_the_label_and_the_names_of_its_chosen_pair(name: str, saved: Checkpoint) -> None:
    given, expansion = EXPANSIONS[name]
    scores, pairs = tables_of(saved.folder, given, expansion)
    indices = [field.name for field in expansion.index_fields]
    compared = [LABEL, *PROBABILITIES, *indices]
    ends = np.cumsum(scores["n_pairs"].to_numpy())
    for row, (first, last) in zip(scores.select(compared).to_pylist(), pairwise([0, *ends]), strict=True):
        assert row in pairs.slice(first, last - first).select(compared).to_pylist()


def test_sentences_of_pairs_are_slices_of_their_texts(saved: Checkpoint) -> None:
    given, expansion = EXPANSIONS["sentences of both"]
    _, pairs = tables_of(saved.folder, given, expansion)
    row = -1
    for pair in pairs.to_pylist():
        row += pair["premise_sentence"] == pair["hypothesis_sentence"] == 0
        for name, texts in (("premise", DOCUMENTS), ("hypothesis", SUMMARIES)):
            assert texts[row][pair[f"{name}_start"] : pair[f"{name}_end"]] == pair[name]
    assert row == len(DOCUMENTS) - 1


def test_a_row_without_its_pairs_is_rejected_and_changes_no_other(saved: Checkpoint) -> None:
    expansion = Expansion(FoldRule.TOPICS, "both", SET)
    all_rows, _ = tables_of(saved.folder, premises(TEXTS[0], None, TEXTS[1], " "), expansion)
    alone, _ = tables_of(saved.folder, premises(TEXTS[0], TEXTS[1]), expansion)
    assert all_rows[REJECTION].to_pylist() == [None, "null_text", None, "empty_text"]
    for name in ("best", "score", "top", "n_pairs"):
        values = all_rows[name].to_pylist()
        assert [values[0], values[2]] == alone[name].to_pylist()
        assert not values[1]


@pytest.mark.parametrize("limit", [0.0, 0.26, 1.01])
def test_a_row_needs_review_by_its_score(limit: float, saved: Checkpoint) -> None:
    expansion = Expansion(FoldRule.TOPICS, hypotheses=SET)
    scores, _ = tables_of(saved.folder, premises(*TEXTS), expansion, review_below=limit)
    expected = [score < np.float32(limit) for score in scores["score"].to_pylist()]
    assert scores[NEEDS_REVIEW].to_pylist() == expected


def test_each_row_is_reported_as_finished_once(saved: Checkpoint) -> None:
    reported: list[ComputedBatch] = []
    given, expansion = EXPANSIONS["sentences of both"]
    rows, _ = tables_of(saved.folder, given, expansion, listener=reported.append)
    assert sum(batch.pairs_done for batch in reported) == rows.num_rows
    assert sum(int(batch.lengths.sum()) for batch in reported) == sum(rows["n_tokens"].to_pylist())
