"""Our token ids are Hugging Face's, whatever the lengths, the cut, the tokenizer's own settings and the company."""
# ruff: noqa: S106 - the name of a special token is no password

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY, framed, pair_table, unigram, wordpiece
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from albert_infer import schema
from albert_infer.errors import ModelError
from albert_infer.prepare.framing import Tokenized
from albert_infer.prepare.tokenization import (
    PairTokenizer,
    append_tokens,
    encoded_apart,
    encoded_pairs,
    long_premises,
)
from albert_infer.prepare.validation import mark_rejected
from albert_infer.schema import HYPOTHESIS, PREMISE, EncodedPairs, Rejection

BUILTIN = (resources.files("albert_infer.model") / "builtin" / "checkpoint" / "tokenizer.json").read_text()
TOKENIZERS = {
    "builtin": Tokenizer.from_str(BUILTIN),
    "wordpiece": wordpiece(),
    "unigram": unigram(),
}
# By words, so that most pairs are near the limit and every kind of token turns up.
TEXTS = st.lists(
    st.sampled_from(["a", "man", "dogs", "plays", "the", "7", "Über", "日本", "-", "[SEP]", "xyzzy", "e\u0301"]),
    min_size=1,
    max_size=9,
).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6)


def tokenizer_of(tokenizer: Tokenizer, max_length: int = 64, **how: Any) -> PairTokenizer:
    how |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "max_length": max_length}
    return PairTokenizer(tokenizer.to_str(), **how)


@cache
def ours(name: str, max_length: int, **how: Any) -> PairTokenizer:
    return tokenizer_of(TOKENIZERS[name], max_length, **how)


@cache
def theirs(name: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=TOKENIZERS[name], cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )


def encoded(tokenizer: PairTokenizer, pairs: Sequence[tuple[str, str]]) -> Tokenized:
    texts = pair_table([premise for premise, _ in pairs], [hypothesis for _, hypothesis in pairs])
    return tokenizer.encode(texts[PREMISE], texts[HYPOTHESIS], np.zeros(len(pairs), dtype=bool))


def rows_of(tokenized: Tokenized) -> list[tuple[list[int], list[int]]]:
    return token_rows(tokenized.pairs)


def token_rows(pairs: EncodedPairs) -> list[tuple[list[int], list[int]]]:
    """Token ids and segment ids of each pair."""
    rows = [pairs.input_ids[first:last].tolist() for first, last in pairwise(pairs.offsets)]
    first = pairs.premise_segment_tokens.tolist()
    return [(ids, [0] * count + [1] * (len(ids) - count)) for ids, count in zip(rows, first, strict=True)]


def expected(name: str, pair: tuple[str, str], **how: Any) -> tuple[list[int], list[int]]:
    """Token ids and segment ids as Hugging Face's fast tokenizer gives them."""
    row = theirs(name)(*pair, return_token_type_ids=True, **how)
    return row["input_ids"], row["token_type_ids"]


@pytest.mark.parametrize("name", TOKENIZERS)
@PROPERTY
@given(pairs=PAIRS)
def test_pairs_that_fit_have_the_tokens_of_hugging_face(name: str, pairs: list[tuple[str, str]]) -> None:
    tokenized = encoded(ours(name, 512), pairs)
    assert rows_of(tokenized) == [expected(name, pair) for pair in pairs]
    assert tokenized.fits.all()
    assert not tokenized.truncated.any()
    assert not tokenized.blank.any()


@pytest.mark.parametrize("name", ["wordpiece", "unigram"])
@PROPERTY
@given(pairs=PAIRS, max_length=st.integers(5, 24))
def test_longest_first_cuts_as_hugging_face_does(name: str, pairs: list[tuple[str, str]], max_length: int) -> None:
    tokenized = encoded(ours(name, max_length, long_premise="longest_first"), pairs)
    how = {"truncation": "longest_first", "max_length": max_length}
    assert rows_of(tokenized) == [expected(name, pair, **how) for pair in pairs]
    assert tokenized.truncated.tolist() == [len(expected(name, pair)[0]) > max_length for pair in pairs]
    assert tokenized.fits.all()


@pytest.mark.parametrize("name", ["wordpiece", "unigram"])
@PROPERTY
@given(pairs=PAIRS, max_length=st.integers(5, 24))
def test_premise_cuts_as_only_first_does_and_never_the_hypothesis(
    name: str, pairs: list[tuple[str, str]], max_length: int
) -> None:
    tokenized = encoded(ours(name, max_length), pairs)
    for row, (pair, (ids, segments)) in enumerate(zip(pairs, rows_of(tokenized), strict=True)):
        hypothesis = TOKENIZERS[name].encode(pair[1], add_special_tokens=False).ids
        assert tokenized.fits[row] == (len(hypothesis) + 4 <= max_length)
        if not tokenized.fits[row]:
            assert (ids, bool(tokenized.truncated[row])) == ([], False)
            continue
        assert (ids, segments) == expected(name, pair, truncation="only_first", max_length=max_length)
        assert ids[-len(hypothesis) - 1 : -1] == hypothesis
        assert tokenized.truncated[row] == (len(expected(name, pair)[0]) > max_length)


def test_a_hypothesis_that_leaves_room_for_one_token_of_the_premise_fits() -> None:
    pairs = [("a man plays", "the dog sleeps")]
    assert encoded(tokenizer_of(wordpiece(), 8), pairs).truncated.tolist() == [True]
    assert encoded(tokenizer_of(wordpiece(), 7), pairs).fits.tolist() == [True]
    assert encoded(tokenizer_of(wordpiece(), 6), pairs).fits.tolist() == [False]


@pytest.mark.parametrize("direction", ["left", "right"])
def test_the_tokenizers_own_padding_and_truncation_change_nothing(direction: str) -> None:
    pairs = [("a man plays music in the park", "a dog"), ("a", "the dog runs")]
    tokenizer = wordpiece()
    plain = rows_of(encoded(tokenizer_of(tokenizer), pairs))
    tokenizer.enable_padding(direction=direction, length=32)
    tokenizer.enable_truncation(4, direction=direction)
    assert rows_of(encoded(tokenizer_of(tokenizer), pairs)) == plain


@PROPERTY
@given(pairs=PAIRS, max_length=st.integers(5, 24), repeated=st.integers(1, 3))
def test_a_pair_has_the_same_tokens_in_any_company(
    pairs: list[tuple[str, str]], max_length: int, repeated: int
) -> None:
    tokenizer = ours("wordpiece", max_length)
    alone = [rows_of(encoded(tokenizer, [pair]))[0] for pair in pairs]
    assert rows_of(encoded(tokenizer, pairs * repeated)) == alone * repeated


@pytest.mark.parametrize("cuts", [[0, 4], [0, 1, 4], [0, 2, 2, 4]])
def test_sliced_and_chunked_columns_have_the_same_tokens(cuts: list[int]) -> None:
    texts = pa.array(["lost", "a man", "the dog", "music", "a dog", "lost"])
    chunked = pa.chunked_array([texts.slice(1 + a, b - a) for a, b in pairwise(cuts)])
    tokenizer, nothing = tokenizer_of(wordpiece()), np.zeros(4, dtype=bool)
    whole = pa.chunked_array([["a man", "the dog", "music", "a dog"]])
    assert rows_of(tokenizer.encode(chunked, whole, nothing)) == rows_of(tokenizer.encode(whole, whole, nothing))
    assert rows_of(tokenizer.encode(whole, chunked, nothing)) == rows_of(tokenizer.encode(whole, whole, nothing))


@pytest.mark.parametrize("chunks", [[], [[]]])
def test_no_pairs_have_no_tokens(chunks: list[list[str]]) -> None:
    texts = pa.chunked_array(chunks, pa.string())
    tokenized = tokenizer_of(wordpiece()).encode(texts, texts, np.zeros(0, dtype=bool))
    assert (tokenized.pairs.lengths.tolist(), tokenized.fits.tolist()) == ([], [])


def test_every_row_is_kept_and_what_cannot_be_labelled_is_rejected() -> None:
    pairs = pair_table(
        ["a man", None, "a man", "\u0301", "a man plays music in the park"],
        ["a dog", "a dog", "the dog plays music in the park", "a", "a dog"],
    )
    # The normalizer strips the accent, and with it the whole of the fourth premise.
    rows = append_tokens(mark_rejected(pairs), tokenizer_of(wordpiece(), 9))
    assert rows[schema.REJECTION].to_pylist() == [
        None,
        Rejection.NULL_TEXT,
        Rejection.HYPOTHESIS_TOO_LONG,
        Rejection.EMPTY_TEXT,
        None,
    ]
    assert rows[schema.N_TOKENS].to_pylist() == [7, 0, 0, 0, 9]
    assert rows[schema.TRUNCATED].to_pylist() == [False, False, False, False, True]
    assert [len(ids) for ids in rows[schema.INPUT_IDS].to_pylist()] == [7, 0, 0, 0, 9]
    assert (rows[schema.DETAIL].is_null().to_numpy() == rows[schema.REJECTION].is_null().to_numpy()).all()


@PROPERTY
@given(pairs=PAIRS, max_length=st.integers(5, 24))
def test_a_pair_with_windows_is_the_truncated_one_and_brings_its_whole_premise(
    pairs: list[tuple[str, str]], max_length: int
) -> None:
    plain = encoded(ours("wordpiece", max_length), pairs)
    found = encoded(ours("wordpiece", max_length, long_premise="window"), pairs)
    assert rows_of(found) == rows_of(plain)
    assert not found.truncated.any()
    assert (found.n_windows > 1).tolist() == plain.truncated.tolist()
    assert (found.n_windows == 0).tolist() == (plain.pairs.lengths == 0).tolist()
    for row, (premise, _) in enumerate(pairs):
        whole = found.long_premises.ids[found.long_premises.offsets[row] : found.long_premises.offsets[row + 1]]
        tokens = TOKENIZERS["wordpiece"].encode(premise, add_special_tokens=False).ids
        assert whole.tolist() == (tokens if plain.truncated[row] else [])


def test_tokens_and_windows_of_thousands_of_tokens_are_counted_and_come_back() -> None:
    premises = ["a man", "the dog " * 3000, "music " * 2000, None, "a man " * 9]
    hypotheses = ["a dog", "a dog", "a dog " * 8 + "in", "a", "a dog " * 10]
    tokenizer = tokenizer_of(wordpiece(), 21, long_premise="window")
    rows = append_tokens(mark_rejected(pair_table(premises, hypotheses)), tokenizer)
    # 16 tokens of 6,000 in steps of 12; one token of 2,000 a window, which are more windows than anyone computes.
    assert rows[schema.N_WINDOWS].to_pylist() == [1, 500, 2000, 0, 0]
    assert rows[schema.N_TOKENS].to_pylist() == [7, 500 * 21, 21, 0, 0]
    too_long = Rejection.HYPOTHESIS_TOO_LONG
    assert rows[schema.REJECTION].to_pylist() == [None, None, None, Rejection.NULL_TEXT, too_long]
    for table in (rows, pa.concat_tables([rows.slice(0, 2), rows.slice(2)]), rows.slice(1)):
        premises_of = long_premises(table)
        assert premises_of.lengths.tolist() == [0, 6000, 0, 0, 0][-len(table) :]
        assert premises_of.ids.tolist() == rows[schema.LONG_PREMISE][1].as_py()


@pytest.mark.parametrize("rows", [slice(0, 4), slice(1, 3), slice(2, 2)])
def test_token_columns_come_back_as_the_arrays_they_were(rows: slice) -> None:
    texts = ["a man", "the dog plays", "music", "a dog"]
    tokenizer = tokenizer_of(wordpiece())
    prepared = append_tokens(mark_rejected(pair_table(texts, texts)), tokenizer)
    part = prepared.slice(rows.start, rows.stop - rows.start)
    wanted = rows_of(encoded(tokenizer, [(text, text) for text in texts]))[rows]
    for table in (part, pa.concat_tables([part.slice(0, 1), part.slice(1)])):
        assert token_rows(encoded_pairs(table)) == wanted


def test_a_tokenizer_that_frames_pairs_otherwise_is_noticed() -> None:
    assert tokenizer_of(wordpiece()).frames_pairs_as_albert()
    swapped = json.loads(wordpiece().to_str())
    swapped["post_processor"]["pair"][3]["Sequence"]["type_id"] = 0
    assert not tokenizer_of(Tokenizer.from_str(json.dumps(swapped))).frames_pairs_as_albert()


def test_a_tokenizer_without_the_framing_tokens_is_refused() -> None:
    with pytest.raises(ModelError, match="<s>"):
        PairTokenizer(wordpiece().to_str(), cls_token="<s>", sep_token="[SEP]", max_length=9)


def test_the_vocabulary_counts_added_tokens() -> None:
    tokenizer = wordpiece()
    before = tokenizer_of(tokenizer).vocab_size
    tokenizer.add_tokens(["zebra"])
    assert tokenizer_of(tokenizer).vocab_size == before + 1


def test_a_text_that_the_tokenizer_raises_for_rejects_its_rows_alone() -> None:
    known = {word: place for place, word in enumerate(("[CLS]", "[SEP]", "a", "man"))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pairs = pair_table(["a man", "a zebra", "man", None, "a"], ["a", "man", "zebra", "zebra", "man a"])
    rows = append_tokens(mark_rejected(pairs), tokenizer_of(framed(tokenizer)))
    failed = Rejection.TOKENIZER_FAILED
    assert rows[schema.REJECTION].to_pylist() == [None, failed, failed, Rejection.NULL_TEXT, None]
    assert rows[schema.N_TOKENS].to_pylist() == [6, 0, 0, 0, 6]
    assert not any("zebra" in detail for detail in rows[schema.DETAIL].to_pylist() if detail)


def test_a_tokenizer_that_raises_for_plain_letters_is_refused() -> None:
    tokenizer = framed(Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1}, unk_token="[UNK]")))
    with pytest.raises(ModelError, match="unknown token"):
        tokenizer_of(tokenizer).frames_pairs_as_albert()


class PanicException(BaseException):
    """By this name Python sees a panic of Rust code; it cannot be imported."""


@PROPERTY
@given(texts=st.lists(st.sampled_from("abcdef")), bad=st.sets(st.sampled_from("abcdef")))
@pytest.mark.parametrize("raised", [ValueError, PanicException])
def test_halves_of_a_batch_are_tried_alone_until_only_the_culprits_are_left(
    raised: type[BaseException], texts: list[str], bad: set[str]
) -> None:
    def encode(batch: list[str]) -> list[str]:
        if bad & set(batch):
            raise raised("quotes a text")
        return [text.upper() for text in batch]

    assert encoded_apart(encode, texts) == [None if text in bad else text.upper() for text in texts]


@pytest.mark.parametrize("raised", [MemoryError, KeyboardInterrupt, SystemExit])
def test_what_says_nothing_of_a_text_is_raised(raised: type[BaseException]) -> None:
    def encode(batch: list[str]) -> list[str]:
        raise raised

    with pytest.raises(raised):
        encoded_apart(encode, ["a"])
