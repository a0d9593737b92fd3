"""The parts of a row are the tokens of its sentences or of the set, and its counts are those of all its pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY, pair_table, wordpiece
from test_tokenization import tokenizer_of

from albert_infer.prepare.parts import Parts, append_parts, one_pair_each, set_parts
from albert_infer.prepare.tokenization import PairTokenizer, append_tokens
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import (
    DETAIL,
    HYPOTHESIS,
    HYPOTHESIS_BOUNDS,
    HYPOTHESIS_PARTS,
    MAX_PAIRS,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    PREMISE,
    PREMISE_BOUNDS,
    PREMISE_PARTS,
    REJECTION,
    TRUNCATED,
    Expansion,
    FoldRule,
    HypothesisSet,
    Rejection,
    row_batches,
)

SET = HypothesisSet(("dogs", "men", "parks"), ("the dog runs", "a man plays music outside", "a park"))
OF_SET = Expansion(FoldRule.TOPICS, hypotheses=SET)
SENTENCES = Expansion(FoldRule.SUMMAC_ZS, split_premise=True, split_hypothesis=True)
PREMISE_ONLY = Expansion(FoldRule.ANY_ENTAILMENT, split_premise=True)
DOCUMENT = ["A man plays music.", "The dog sleeps!", "A woman runs in the park."]
SUMMARY = ["A man plays.", "The dog runs."]


def prepared(pairs: pa.Table, expansion: Expansion, **how: object) -> pa.Table:
    return append_parts(mark_rejected(pairs), tokenizer_of(wordpiece(), **how), expansion)  # type: ignore[arg-type]


def premises(*texts: str | None) -> pa.Table:
    return pa.table({PREMISE: pa.array(texts, pa.string())})


def ids_of(tokenizer: PairTokenizer, texts: Sequence[str]) -> list[list[int]]:
    ragged = tokenizer.tokenized(pa.chunked_array([list(texts)], pa.string()))
    places = zip(ragged.starts, ragged.lengths, strict=True)
    return [ragged.ids[start : start + size].tolist() for start, size in places]


def test_a_row_has_the_tokens_of_its_text_and_of_every_hypothesis_of_the_set() -> None:
    tokenizer = tokenizer_of(wordpiece())
    table = prepared(premises("a man plays", "the dog"), OF_SET)
    assert table[PREMISE_PARTS].to_pylist() == [[ids] for ids in ids_of(tokenizer, ["a man plays", "the dog"])]
    assert table[HYPOTHESIS_PARTS].to_pylist() == [ids_of(tokenizer, SET.texts)] * 2
    assert table[N_PAIRS].to_pylist() == [3, 3]
    assert HYPOTHESIS not in table.column_names


def test_a_row_has_the_tokens_of_each_sentence_and_the_place_of_each_in_its_text() -> None:
    tokenizer = tokenizer_of(wordpiece())
    document = "  " + "\n".join(DOCUMENT)
    table = prepared(pair_table([document, "a man"], [" ".join(SUMMARY), "a dog"]), SENTENCES)
    assert table[PREMISE_PARTS].to_pylist() == [ids_of(tokenizer, DOCUMENT), ids_of(tokenizer, ["a man"])]
    assert table[HYPOTHESIS_PARTS].to_pylist() == [ids_of(tokenizer, SUMMARY), ids_of(tokenizer, ["a dog"])]
    assert table[N_PAIRS].to_pylist() == [6, 1]
    summary = " ".join(SUMMARY)
    for name, text, sentences in ((PREMISE_BOUNDS, document, DOCUMENT), (HYPOTHESIS_BOUNDS, summary, SUMMARY)):
        bounds = np.array(table[name][0].as_py()).reshape(-1, 2)
        assert [text[start:end] for start, end in bounds] == sentences


def test_a_text_that_is_not_split_is_one_part_and_has_no_bounds() -> None:
    table = prepared(pair_table([" ".join(DOCUMENT)], [" ".join(SUMMARY)]), PREMISE_ONLY)
    assert [len(table[name][0]) for name in (PREMISE_PARTS, HYPOTHESIS_PARTS)] == [3, 1]
    assert PREMISE_BOUNDS in table.column_names
    assert HYPOTHESIS_BOUNDS not in table.column_names


def test_each_distinct_part_is_tokenized_once() -> None:
    seen: list[str] = []

    class Counting(PairTokenizer):
        def _encode_batch(self, texts: list[str]) -> list[object]:
            seen.extend(texts)
            return super()._encode_batch(texts)

    tokenizer = Counting(wordpiece().to_str(), cls_token="[CLS]", sep_token="[SEP]", max_length=64)  # noqa: S106
    append_parts(mark_rejected(premises(*["a man plays", "the dog sleeps"] * 50)), tokenizer, OF_SET)
    assert len(seen) == len(set(seen)) <= 5


@pytest.mark.computes
@pytest.mark.parametrize("long_premise", ["truncate", "longest_first", "window"])
@PROPERTY
@given(
    documents=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), min_size=1, max_size=4),
    summary=st.lists(st.integers(1, 30), min_size=1, max_size=3),
)
def test_counts_are_the_sums_over_the_pairs_as_rows_of_their_own(
    long_premise: str, documents: list[list[int]], summary: list[int]
) -> None:
    texts = [[" ".join(["a man"] * size) + "." for size in sizes] for sizes in documents]
    hypotheses = [" ".join(["the dog"] * size) + "!" for size in summary]
    rows = prepared(
        pair_table([" ".join(text).title() for text in texts], [" ".join(hypotheses).title()] * len(texts)),
        SENTENCES,
        max_length=32,
        long_premise=long_premise,
    )
    tokenizer = tokenizer_of(wordpiece(), 32, long_premise=long_premise)
    for row, text in zip(rows.to_pylist(), texts, strict=True):
        alone = [(sentence.title(), hypothesis.title()) for hypothesis in hypotheses for sentence in text]
        pairs = append_tokens(mark_rejected(pair_table(*map(list, zip(*alone, strict=True)))), tokenizer)
        if pairs[REJECTION].null_count < len(alone):
            assert (row[REJECTION], row[N_TOKENS]) == (str(Rejection.HYPOTHESIS_TOO_LONG), 0)
            continue
        assert row[N_PAIRS] == len(alone)
        assert row[N_TOKENS] == sum(pairs[N_TOKENS].to_pylist())
        assert row[TRUNCATED] == any(pairs[TRUNCATED].to_pylist())
        if long_premise == "window":
            assert row[N_WINDOWS] == sum(pairs[N_WINDOWS].to_pylist())


def test_a_row_that_cannot_have_all_its_pairs_is_rejected_and_has_no_parts() -> None:
    long = " ".join(["dog"] * 61)
    table = prepared(pair_table(["a man", None, "a man", "a\ufffe\ufffe. ."], ["a dog", "a", long, "a dog"]), SENTENCES)
    assert table[REJECTION].to_pylist()[:3] == [None, str(Rejection.NULL_TEXT), str(Rejection.HYPOTHESIS_TOO_LONG)]
    assert "no room for one token of the premise within 64 tokens" in table[DETAIL][2].as_py()
    for name, empty in ((PREMISE_PARTS, []), (HYPOTHESIS_PARTS, []), (PREMISE_BOUNDS, []), (N_PAIRS, 0), (N_TOKENS, 0)):
        assert table[name].to_pylist()[1:3] == [empty, empty]
        assert table[name][0].as_py() != empty


def test_a_row_with_too_many_pairs_is_rejected() -> None:
    many = HypothesisSet(*[tuple(f"a man plays {index}" for index in range(MAX_PAIRS // 2 + 1))] * 2)
    expansion = Expansion(FoldRule.ANY_ENTAILMENT, hypotheses=many, split_premise=True)
    table = prepared(premises("A man plays.", "A man plays. A dog runs."), expansion)
    assert table[REJECTION].to_pylist() == [None, str(Rejection.TOO_MANY_PAIRS)]
    assert table[DETAIL][1].as_py() == "the row has more than 60,000 pairs"


def test_a_text_that_cannot_be_split_is_rejected() -> None:
    endless = "word " * 7000
    table = prepared(pair_table([endless, "a man"], ["a dog", "a dog"]), SENTENCES)
    assert table[REJECTION].to_pylist() == [str(Rejection.SPLITTER_FAILED), None]


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=6))
def test_parts_are_the_same_from_a_slice_of_a_table(texts: list[list[int]]) -> None:
    lists = [[list(range(size)) for size in text] for text in texts]
    column = pa.array([[[9]], *lists, [[8], [7]]], pa.large_list(pa.list_(pa.int32())))
    read = Parts.from_arrow(pa.chunked_array([column.slice(1, len(lists))]))
    assert read.counts.tolist() == list(map(len, lists))
    assert read.to_arrow(np.ones(len(lists), np.bool_)).to_pylist() == lists


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 12))
def test_row_batches_have_every_row_once_and_few_pairs(counts: list[int], at_a_time: int) -> None:
    batches = list(row_batches(np.array(counts, np.int64), at_a_time))
    assert [row for batch in batches for row in range(len(counts))[batch]] == list(range(len(counts)))
    for batch in batches:
        assert batch.stop - batch.start == 1 or sum(counts[batch]) <= at_a_time


def test_the_counts_do_not_depend_on_the_pairs_that_are_counted_at_a_time() -> None:
    rows = mark_rejected(pair_table([" ".join(DOCUMENT)] * 7, [" ".join(SUMMARY)] * 7))
    at_once, in_pieces = (
        append_parts(rows, tokenizer_of(wordpiece()), SENTENCES, pairs_at_a_time=pairs) for pairs in (1000, 13)
    )
    assert at_once.equals(in_pieces)


def test_a_sample_has_one_pair_of_each_row() -> None:
    of_set = one_pair_each(mark_rejected(premises("a", None, "b", "c")), OF_SET)
    assert of_set[HYPOTHESIS].to_pylist() == [SET.texts[0], SET.texts[1], SET.texts[2], SET.texts[0]]
    texts = pair_table([" ".join(DOCUMENT)] * 4, [" ".join(SUMMARY), None, *[" ".join(SUMMARY)] * 2])
    split = one_pair_each(mark_rejected(texts), SENTENCES)
    assert split[PREMISE].to_pylist() == [DOCUMENT[0], "", DOCUMENT[2], DOCUMENT[0]]
    assert split[HYPOTHESIS].to_pylist() == [SUMMARY[0], "", SUMMARY[0], SUMMARY[1]]
    assert split[REJECTION].is_valid().to_pylist() == [False, True, False, False]


def test_the_hypotheses_of_a_set_are_the_parts_of_each_row() -> None:
    assert set_parts(SET, tokenizer_of(wordpiece()), rows=3).offsets.tolist() == [0, 3, 6, 9]
