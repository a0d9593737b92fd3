"""Sentences are where the splitter's rules end them, and no character of a text is lost or counted twice."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sentencex
from hypothesis import example, given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.prepare import sentences
from albert_infer.prepare.sentences import CONTEXT, MAX_SENTENCE, PART, SentenceBounds, split_texts
from albert_infer.prepare.validation import BLANK
from benchmarks.sentences import Errors, GoldText, errors_of, gold_texts, ours

ROOT = Path(__file__).parent.parent
GOLD = gold_texts()
PROSE = "Dr. Ames plays a song in the park. A dog sleeps, e.g. under a bench! Who listens? "
# What rules of a splitter look at, so that boundaries of every kind are next to each other.
PIECES = [
    *(
        "a",
        "B",
        "Dr",
        "3",
        ".",
        " ",
        "\n",
        "\n\n",
        "\r\n",
        "'",
        '"',
        "“",
        "”",
        "(",
        ")",
        "!",
        "?",
        "…",
        "。",
        "é",
        "😀",
    ),
    *(
        "\u00a0",
        "\u200b",
        "\x00",
        "\t",
        "- ",
        "1. ",
        "a) ",
        "http://a.b",
        "\u2028",
        "«",
        "[1]",
        "e\u0301",
        "<b>",
        "\x85",
    ),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


def spans_of(text: str) -> list[tuple[int, int]]:
    return ours([text])[0]


def strings_of(bounds: SentenceBounds) -> list[list[str]]:
    """The sentences of each text."""
    flat = bounds.texts().to_pylist()
    return [flat[first:last] for first, last in pairwise(bounds.offsets.tolist())]


def is_blank(text: str) -> bool:
    return bool(pc.match_substring_regex(pa.scalar(text), BLANK).as_py())


def refuse_bad_spans(text: str, bounds: SentenceBounds) -> None:
    """Fail unless the sentences of one text are whole, in order and trimmed, and leave only blank characters."""
    assert bounds.failed.tolist() == [False]
    spans = list(zip(bounds.starts.tolist(), bounds.ends.tolist(), strict=True))
    assert bounds.texts().to_pylist() == [text[start:end] for start, end in spans]
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert edges == sorted(edges)
    assert all(is_blank(text[end:start]) for end, start in zip(edges[::2], edges[1::2], strict=True))
    for start, end in spans:
        assert not is_blank(text[start:end])
        assert text[start:end] == text[start:end].strip()
    assert bool(spans) != is_blank(text)


@PROPERTY
@given(TEXTS)
@example("")
@example('B\x85."1. A')  # the library raises an error for this text as it is
@example("“No.”\u2003“Yes.”")
def test_sentences_are_in_order_and_leave_only_blank_characters(text: str) -> None:
    refuse_bad_spans(text, split_texts(pa.array([text])))


@pytest.mark.parametrize("gold", GOLD, ids=[f"{number}-{gold.kind}" for number, gold in enumerate(GOLD)])
def test_sentences_of_real_kinds_of_texts_are_whole(gold: GoldText) -> None:
    refuse_bad_spans(gold.text, split_texts(pa.array([gold.text])))


def test_the_errors_are_those_that_the_page_on_benchmarks_has() -> None:
    # Other numbers mean that the library splits differently: look at the sentences, and measure again.
    errors = errors_of(GOLD, ours([gold.text for gold in GOLD]))
    assert errors == Errors(missed=5, wrong=7, right=208)
    total = sum(len(gold.sentences) for gold in GOLD)
    row = f"as the package uses it** | {errors.missed} | {errors.wrong} | {errors.right} of {total} |"
    assert f"| **{sentences.SPLITTER}, {row}" in (ROOT / "docs" / "benchmarks.md").read_text("utf-8")


def test_positions_are_characters_also_after_an_emoji() -> None:
    assert spans_of("We won 😀😀! It rained. Café 日本? Go.") == [(0, 10), (11, 21), (22, 30), (31, 34)]


def test_an_invisible_character_at_the_end_of_a_sentence_stays() -> None:
    flag = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert strings_of(split_texts(pa.array([f" We won {flag}\n\n\u200b\n\nGo. "]))) == [[f"We won {flag}", "Go."]]


@pytest.mark.computes
def test_what_is_trimmed_is_blank() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    blank = {
        each
        for each, is_one in zip(every, pc.match_substring_regex(pa.array(every), BLANK).to_pylist(), strict=True)
        if is_one
    }
    trimmed = set(sentences._TRIMMED)
    assert trimmed <= blank
    assert {each for each in every if each.isspace()} <= trimmed
    # The rest are invisible characters, which may be a part of an emoji.
    assert all(len(each.encode()) > 1 for each in blank - trimmed)


def test_rows_have_their_sentences_in_order() -> None:
    texts = pa.chunked_array([["One. Two.", "", "Three"], [], [" \n", "One. Two."]], pa.string())
    bounds = split_texts(texts)
    assert strings_of(bounds) == [["One.", "Two."], [], ["Three"], [], ["One.", "Two."]]
    assert bounds.counts.tolist() == [2, 0, 1, 0, 2]
    assert (bounds.starts.tolist(), bounds.ends.tolist()) == ([0, 5, 0, 0, 5], [4, 9, 5, 4, 9])
    assert not bounds.failed.any()


@pytest.mark.parametrize("texts", [pa.array([], pa.string()), pa.chunked_array([], pa.string())])
def test_no_texts_have_no_sentences(texts: pa.Array | pa.ChunkedArray) -> None:
    bounds = split_texts(texts)
    assert bounds.offsets.tolist() == [0]
    assert (len(bounds.starts), len(bounds.ends), len(bounds.failed)) == (0, 0, 0)
    assert bounds.texts() == pa.array([], pa.string())


def test_arrays_have_the_types_of_the_columns_of_pairs() -> None:
    bounds = split_texts(pa.array(["One. Two.", "Three"]))
    types = [each.dtype for each in (bounds.offsets, bounds.starts, bounds.ends, bounds.failed)]
    assert types == [np.int64, np.int32, np.int32, np.bool_]
    assert bounds.texts().type == pa.string()


def test_each_distinct_text_is_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["One. Two.", "Three.", "One. Two.", "Three.", "One. Two."]
    calls = counted(monkeypatch)
    bounds = split_texts(pa.chunked_array([texts[:2], texts[2:]]))
    assert calls == ["One. Two.", "Three."]
    assert bounds.counts.tolist() == [2, 1, 2, 1, 2]
    assert len(bounds.distinct) == 3


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the library gets from now on."""
    calls: list[str] = []
    split = sentencex.get_sentence_boundaries

    def counting(language: str, text: str) -> Any:
        calls.append(text)
        return split(language, text)

    monkeypatch.setattr(sentencex, "get_sentence_boundaries", counting)
    return calls


class PanicException(BaseException):
    """As pyo3 names a panic of Rust code."""


@pytest.mark.parametrize("error", [ValueError, PanicException])
def test_a_text_that_the_library_fails_for_fails_alone(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    raise_for(monkeypatch, "Bad. Text.", error)
    bounds = split_texts(pa.array(["One. Two.", "Bad. Text.", "", "Three.", "Bad. Text."]))
    assert bounds.failed.tolist() == [False, True, False, False, True]
    assert strings_of(bounds) == [["One.", "Two."], [], [], ["Three."], []]


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_no_text_causes_is_raised(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    raise_for(monkeypatch, "One.", error)
    with pytest.raises(error):
        split_texts(pa.array(["One."]))


def raise_for(monkeypatch: pytest.MonkeyPatch, bad: str, error: type[BaseException]) -> None:
    split = sentencex.get_sentence_boundaries

    def raising(language: str, text: str) -> Any:
        if text == bad:
            raise error
        return split(language, text)

    monkeypatch.setattr(sentencex, "get_sentence_boundaries", raising)


@pytest.mark.parametrize("spans", [[], [(0, 4)], [(5, 9)]], ids=["nothing", "the first", "the last"])
def test_a_library_that_loses_a_character_fails(monkeypatch: pytest.MonkeyPatch, spans: list[tuple[int, int]]) -> None:
    def losing(language: str, text: str) -> list[dict[str, Any]]:
        return [{"start_index": start, "end_index": end, "is_paragraph_break": False} for start, end in spans]

    monkeypatch.setattr(sentencex, "get_sentence_boundaries", losing)
    bounds = split_texts(pa.array(["One. Two."]))
    assert (bounds.failed.tolist(), bounds.offsets.tolist()) == ([True], [0, 0])


@pytest.mark.parametrize("between", [" ", "\n\n", "\r\n"])
def test_a_long_text_is_split_in_parts_as_it_is_whole(monkeypatch: pytest.MonkeyPatch, between: str) -> None:
    text = between.join(gold.text for gold in GOLD * 8)
    assert len(text) > 3 * PART
    in_parts = spans_of(text)
    monkeypatch.setattr(sentences, "PART", len(text))
    assert spans_of(text) == in_parts


def test_a_huge_text_takes_time_in_proportion_to_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    text = PROSE * ((1 << 20) // len(PROSE))
    bounds = split_texts(pa.array([text]))
    assert bounds.counts.tolist() == [text.count("park") * 3]
    # A character is seen twice at most where sentences are shorter than CONTEXT, and most are seen once.
    assert max(map(len, calls)) == PART
    assert sum(map(len, calls)) < len(text) * (1 + 2 * CONTEXT / PART)


@pytest.mark.parametrize(("words", "is_failed"), [(PART, False), (MAX_SENTENCE, True)])
def test_a_sentence_may_be_long_but_not_endless(words: int, is_failed: bool) -> None:
    text = f"{'na ' * (words // 3)}end. {PROSE}"
    bounds = split_texts(pa.array([text, "One. Two."]))
    assert bounds.failed.tolist() == [is_failed, False]
    assert bounds.counts.tolist() == [0 if is_failed else 4, 2]


def test_space_at_the_end_may_be_long() -> None:
    assert spans_of("One." + " " * 2 * MAX_SENTENCE) == [(0, 4)]


def test_the_version_of_the_splitter_is_known() -> None:
    name, number = sentences.SPLITTER.split()
    assert name == "sentencex"
    assert all(part.isdigit() for part in number.split("."))
