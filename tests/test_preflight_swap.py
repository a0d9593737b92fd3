"""The detector of exchanged columns: exchanged pairs are told, pairs as they are never."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY, WORDS, bytes_column, pair_table, wordpiece

import albert_infer
from albert_infer.classify.classification import Classifier
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.preflight.intervals import wilson_interval
from albert_infer.preflight.swap import BACKWARDS, LEAST_PAIRS, Swap, Texts, detect_swap, exchanged, texts_of
from albert_infer.prepare.tokenization import PairTokenizer, append_tokens, encoded_pairs
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import DeviceKind, Precision

PACKAGED = Path(albert_infer.__file__).parent / "model" / "builtin" / "pairs.parquet"
FOLDER = os.environ.get("NLI_TEST_PAIRS", "")
# One file of each corpus.
INPUTS = [PACKAGED, *(Path(FOLDER, f"{name}.parquet") for name in ("mnli_dev_a", "snli_test_a") if FOLDER)]
# Of MultiNLI's pairs that entail one way only the built-in checkpoint turns more round than of the others'.
HARDER = "mnli_dev_a"
LOOK_EXCHANGED = Texts(pairs=100, hypothesis_longer=90, premise_repeats=1, hypothesis_repeats=66)

TEXT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
PAIRS = st.lists(st.tuples(st.none() | st.just("") | TEXT, st.none() | TEXT), max_size=20)


@cache
def builtin() -> Classifier:
    return Classifier.load(
        load_checkpoint("builtin"), precision=Precision.FP32, device=DeviceKind.CPU, max_batch_tokens=512, threads=1
    )


def as_they_are(path: Path) -> pa.Table:
    return pq.read_table(path, columns=["premise", "hypothesis"])


def turned(pairs: pa.Table) -> pa.Table:
    return pa.table({"premise": pairs["hypothesis"], "hypothesis": pairs["premise"]})


def found(pairs: pa.Table, texts: Texts | None = None) -> Swap:
    tokenizer = load_checkpoint("builtin").tokenizer(max_length=None)
    prepared = append_tokens(mark_rejected(pairs), tokenizer)
    # Of every unit a part: the texts of all are added up.
    half = pairs.num_rows // 2
    parts = [texts_of(pairs.slice(0, half)), texts_of(pairs.slice(half))] if texts is None else [texts]
    return detect_swap(builtin(), parts, prepared)


# --- real pairs


@pytest.mark.process
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_exchanged_pairs_are_told_and_pairs_as_they_are_pass_by_a_wide_margin(path: Path) -> None:
    pairs = as_they_are(path)
    honest = found(pairs)
    assert not honest.suspected
    assert honest.texts.hypothesis_longer < 0.2 * honest.texts.pairs
    assert honest.texts.premise_repeats > 20 * honest.texts.hypothesis_repeats
    assert honest.texts.premise_repeats > 0.4 * honest.texts.pairs
    assert honest.one_way == 0, "nothing was labelled for it"
    told = found(turned(pairs))
    assert told.suspected
    assert told.backwards >= (0.65 if path.stem == HARDER else 0.75) * told.one_way
    assert wilson_interval(told.backwards, told.one_way)[0] > BACKWARDS
    assert "give --premise-column and --hypothesis-column the other way round" in told.warning()


@pytest.mark.process
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_labels_that_entail_forwards_clear_texts_that_look_exchanged(path: Path) -> None:
    told = found(as_they_are(path), LOOK_EXCHANGED)
    assert told.one_way >= 10
    assert told.backwards <= (0.35 if path.stem == HARDER else 0.3) * told.one_way
    # A false alarm costs more than a miss.
    assert wilson_interval(told.backwards, told.one_way, confidence=0.9999)[1] < BACKWARDS
    assert not told.suspected


# --- one sign is none


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(Texts(1000, 990, 0, 0), id="long hypotheses that never repeat"),
        pytest.param(Texts(1000, 990, 800, 900), id="long hypotheses where both sides repeat"),
        pytest.param(Texts(1000, 600, 0, 999), id="few labels as the hypotheses of many texts"),
        pytest.param(Texts(LEAST_PAIRS - 1, 40, 0, 40), id="few pairs"),
        pytest.param(Texts(), id="none"),
    ],
)
def test_honest_texts_that_have_one_sign_do_not_look_exchanged(texts: Texts) -> None:
    assert not texts.look_exchanged


def test_both_signs_look_exchanged() -> None:
    assert LOOK_EXCHANGED.look_exchanged
    assert Texts(LEAST_PAIRS, 40, 0, 40).look_exchanged


# --- the counts and the exchange


@PROPERTY
@given(PAIRS)
def test_texts_are_counted_as_they_are_and_pairs_without_one_not_at_all(
    pairs: list[tuple[str | None, str | None]],
) -> None:
    whole = [(premise, hypothesis) for premise, hypothesis in pairs if premise is not None and hypothesis is not None]
    assert texts_of(pair_table([one for one, _ in pairs], [other for _, other in pairs])) == Texts(
        pairs=len(whole),
        hypothesis_longer=sum(len(hypothesis) > len(premise) for premise, hypothesis in whole),
        premise_repeats=len(whole) - len({premise for premise, _ in whole}),
        hypothesis_repeats=len(whole) - len({hypothesis for _, hypothesis in whole}),
    )


def test_texts_that_are_no_utf8_are_counted_too() -> None:
    broken = bytes_column([b"\xff\xfe", b"\xff\xfe"])
    assert texts_of(pa.table({"premise": broken, "hypothesis": ["a", "bcd"]})) == Texts(2, 1, 1, 0)


@PROPERTY
@given(PAIRS)
def test_exchanged_tokens_are_those_of_exchanged_texts(pairs: list[tuple[str | None, str | None]]) -> None:
    cls_token, sep_token = "[CLS]", "[SEP]"
    tokenizer = PairTokenizer(
        wordpiece().to_str(), cls_token=cls_token, sep_token=sep_token, max_length=32, long_premise="longest_first"
    )
    texts = pair_table([one for one, _ in pairs], [other for _, other in pairs])
    ours = encoded_pairs(exchanged(append_tokens(mark_rejected(texts), tokenizer)))
    expected = encoded_pairs(append_tokens(mark_rejected(turned(texts)), tokenizer))
    np.testing.assert_array_equal(ours.input_ids, expected.input_ids)
    np.testing.assert_array_equal(ours.offsets, expected.offsets)
    np.testing.assert_array_equal(ours.premise_segment_tokens, expected.premise_segment_tokens)
