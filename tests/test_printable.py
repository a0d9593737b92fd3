"""What comes from outside is one line that shows all that is in it, whatever it holds and wherever it is printed."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.common.printable import how_many, one_line, printable, printed, reason_of, text_of

# Lone surrogates too: a file name that is not UTF-8 has them.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@PROPERTY
@given(ANY_TEXT)
def test_any_text_is_one_line_that_a_terminal_can_be_sent(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    line.encode()
    assert printable(line) == line, "what is printable is left alone"


@PROPERTY
@given(ANY_TEXT)
def test_texts_that_differ_look_different_but_for_a_spelt_out_escape(text: str) -> None:
    if "\\" not in text:
        assert printable(text).encode("ascii", "backslashreplace").decode("unicode_escape") == text


@pytest.mark.parametrize(
    "hidden",
    [*"\n\r\x1b\x85\x9b\u200b\u200d\u202e\u2066\u2028\ufeff\udcff\u3164"],
    ids=ascii,
)
def test_what_is_not_seen_is_spelt_out(hidden: str) -> None:
    assert printable(f"a{hidden}b") == f"a{ascii(hidden)[1:-1]}b"


def test_no_character_that_unicode_lets_a_terminal_leave_out_is_printed_as_it_is() -> None:
    fillers = {chr(code) for code in (*range(0x180B, 0x180E), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), 0x34F)}
    formats = {chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs"}}
    assert not {letter for letter in fillers | formats if printable(letter) == letter}


def test_scripts_spaces_and_backslashes_stay_as_they_are() -> None:
    text = r"é 日本  עברית a\b [red] · %"
    assert printable(text) == text


def test_one_line_has_one_space_for_any_whitespace() -> None:
    assert one_line("a \n\t b\x1b[31m") == r"a b\x1b[31m"


def test_a_reason_is_the_kind_and_a_line_of_limited_length() -> None:
    assert reason_of(ValueError("bad\nname")) == "ValueError: bad name"
    assert len(reason_of(ValueError("x" * 10_000))) < 300


def test_one_of_a_kind_is_one_and_all_other_counts_are_several() -> None:
    assert [how_many(count, "file") for count in (0, 1, 2, 3000)] == ["0 files", "1 file", "2 files", "3,000 files"]
    assert [how_many(count, "GPU") for count in (1.0, 0.5)] == ["1 GPU", "0.5 GPUs"]
    assert how_many(2, "micro-batch", "micro-batches") == "2 micro-batches"


def test_a_line_of_a_text_cannot_begin_another_one() -> None:
    assert text_of(["a\nsummary {}", "b"]).splitlines() == [r"a\nsummary {}", "b"]


def test_a_log_of_somebody_else_keeps_its_lines_and_no_colours() -> None:
    assert printed("a\r\n\x1b[31mb\n") == "a\\r\n\\x1b[31mb\n"
