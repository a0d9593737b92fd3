"""The edits that make hypotheses, and the part of WordNet that they use."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from recipes.builtin.edits import EDITS, Editor, endings_in, joined, names_in, words_of
from recipes.builtin.lexicon import Lexicon, Word, read_lexicon
from recipes.builtin.word_forms import continuous, past, plural, replaced_words

LEXICON = Lexicon(
    {
        "noun": {"dog": Word(("animal",), (), ("cat", "fox"))},
        "verb": {"walk": Word(("travel",), ("ride",), ("stroll",)), "make": Word((), (), ("bake",))},
        "adj": {"old": Word((), ("young",), ())},
        "adv": {"slowly": Word((), ("quickly",), ())},
    },
    (),
)
EDITOR = Editor(LEXICON, ("Paris",), ("in the park",))
SENTENCE = "The old dog is walking slowly to Rome with 3 men because they are not tired."


def edits_of(sentence: str) -> set[str]:
    """What single edits make of the sentence, over many draws."""
    changed = [edit(EDITOR, words_of(sentence), random.Random(seed)) for seed in range(60) for edit in EDITS]  # noqa: S311
    return {joined(words) for words in changed if words is not None}


@pytest.mark.parametrize(
    "expected",
    [
        "The young dog is walking slowly to Rome with 3 men because they are not tired.",
        "The old animal is walking slowly to Rome with 3 men because they are not tired.",
        "The old dog is riding slowly to Rome with 3 men because they are not tired.",
        "The old dog is walking slowly to Rome with 4 men because they are not tired.",
        "The old dog is walking slowly to Paris with 3 men because they are not tired.",
        "The old dog is walking slowly to Rome with 3 men because they are tired.",
        "The old dog might be walking slowly to Rome with 3 men because they are not tired.",
        "The old dog is walking slowly to Rome with 3 men.",
        "They are not tired.",
        "The dog is walking slowly to Rome with 3 men because they are not tired.",
        "The old dog is walking slowly to Rome with 3 men because they are not tired in the park.",
        "They are not tired because the old dog is walking slowly to Rome with 3 men.",
        "It is not true that the old dog is walking slowly to Rome with 3 men because they are not tired.",
        "No old dog is walking slowly to Rome with 3 men because they are not tired.",
        "The old dog is walking slowly to Rome without 3 men because they are not tired.",
    ],
)
def test_an_edit_changes_one_thing(expected: str) -> None:
    assert expected in edits_of(SENTENCE)


def test_a_sentence_without_a_negation_gets_one() -> None:
    assert "The dog is not old." in edits_of("The dog is old.")


@PROPERTY
@given(st.text(alphabet="ab N3.,'?-\u00e9 ", max_size=40), st.integers(1, 4))
def test_any_text_can_be_edited_and_the_edits_differ_from_it(text: str, count: int) -> None:
    edited = EDITOR.edited(text, count, "seed")
    assert len(set(edited)) == len(edited) <= count
    assert text not in edited
    assert edited == EDITOR.edited(text, count, "seed")


def test_names_and_endings_come_from_other_sentences() -> None:
    texts = ["He met Anna in the old town.", "Paris is large.", "The town is near the sea, Paris said Anna."]
    assert names_in(texts) == ["Anna", "Paris"]
    assert endings_in(texts) == ["in the old town", "near the sea , Paris said Anna"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("dogs", [["animals"], ["cats", "foxes"]]),
        ("walked", [["rided"], ["traveled"], ["strolled"]]),
        ("making", [["baking"]]),
        ("old", [["young"]]),
        ("the", []),
        ("unknown", []),
    ],
)
def test_words_are_replaced_in_the_form_that_they_have(word: str, expected: list[list[str]]) -> None:
    assert replaced_words(word, LEXICON) == expected


def test_regular_forms() -> None:
    assert [plural(word) for word in ("cat", "box", "city", "boy")] == ["cats", "boxes", "cities", "boys"]
    assert [continuous(word) for word in ("walk", "make", "run", "take off", "see")] == [
        "walking",
        "making",
        "running",
        "taking off",
        "seeing",
    ]
    assert [past(word) for word in ("walk", "bake", "carry", "hug")] == ["walked", "baked", "carried", "hugged"]


def test_wordnet_gives_wider_words_opposites_siblings_and_sentences(tmp_path: Path) -> None:
    licence = "  1 This software and database is being provided to you.\n"
    lines = {
        "index.noun": "dog n 1 1 @ 1 1 00000010\nfox n 1 1 @ 1 1 00000020\nnight n 1 1 ! 1 1 00000040\n",
        "data.noun": (
            '00000010 05 n 01 dog 0 001 @ 00000030 n 0000 | a pet; "the dog barked all night"; "a dog"\n'
            "00000020 05 n 01 fox 0 001 @ 00000030 n 0000 | a wild animal\n"
            "00000030 05 n 02 animal 0 beast 0 000 | a living thing\n"
            "00000040 05 n 01 night 0 001 ! 00000050 n 0101 | the dark hours\n"
            "00000050 05 n 01 day 0 000 | the light hours\n"
        ),
        "cntlist.rev": "dog%1:05:00:: 1 42\nfox%1:05:00:: 1 3\n",
    }
    for part in ("noun", "verb", "adj", "adv"):
        for kind in ("index", "data"):
            (tmp_path / f"{kind}.{part}").write_text(licence + lines.get(f"{kind}.{part}", ""))
    (tmp_path / "cntlist.rev").write_text(lines["cntlist.rev"])
    lexicon = read_lexicon(tmp_path)
    assert lexicon.words["noun"] == {
        "dog": Word(("animal",), (), ("fox",)),
        "fox": Word(("animal",), (), ("dog",)),
        "night": Word((), ("day",), ()),
    }
    assert lexicon.examples == ("the dog barked all night",)
