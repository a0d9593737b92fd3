"""Words of WordNet in the form that a sentence has them: plurals, and verbs that end in -s, -ing or -ed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from recipes.builtin.lexicon import Lexicon, Word
from recipes.builtin.word_lists import SKIPPED

PARTS: Final = ("adj", "adv", "noun", "verb")
VOWELS: Final = "aeiou"


def replaced_words(word: str, lexicon: Lexicon) -> list[list[str]]:
    """What may take the word's place: lists of opposites, wider words and siblings, without those that are empty."""
    if word in SKIPPED:
        return []
    found: dict[str, list[str]] = {"opposite": [], "wider": [], "siblings": []}
    for entry, inflect in _entries(word, lexicon):
        for kind, others in found.items():
            others += [inflect(lemma) for lemma in getattr(entry, kind)]
    lists = [[other for other in dict.fromkeys(others) if other != word] for others in found.values()]
    return [others for others in lists if others]


def _entries(word: str, lexicon: Lexicon) -> list[tuple[Word, Callable[[str], str]]]:
    """The word's entry in the first part of speech that has it, and how its lemmas become like it."""
    for part in PARTS:
        if word in lexicon.words[part] and not (part == "noun" and word.endswith("ing")):
            return [(lexicon.words[part][word], str)]
    forms: Sequence[tuple[str, str, Callable[[str], str]]] = (
        ("noun", "s", plural),
        ("verb", "ing", continuous),
        ("verb", "ed", past),
        ("verb", "s", plural),
    )
    for part, ending, inflect in forms:
        if word.endswith(ending):
            for base in _bases(word.removesuffix(ending), ending):
                if base in lexicon.words[part]:
                    return [(lexicon.words[part][base], inflect)]
    return []


def _bases(stem: str, ending: str) -> list[str]:
    bases = [stem]
    if ending != "s":
        bases.append(f"{stem}e")
        if len(stem) > 2 and stem[-1] == stem[-2]:
            bases.append(stem[:-1])
    if stem.endswith("ie"):
        bases.append(f"{stem[:-2]}y")
    elif stem.endswith("e"):
        bases.append(stem[:-1])
    if ending == "ed" and stem.endswith("i"):
        bases.append(f"{stem[:-1]}y")
    return bases


def plural(lemma: str) -> str:
    """The lemma with -s, as in "cats", "boxes" and "cities"."""
    if lemma.endswith("y") and lemma[-2:-1] not in VOWELS:
        return f"{lemma[:-1]}ies"
    return f"{lemma}es" if lemma.endswith(("s", "x", "z", "ch", "sh")) else f"{lemma}s"


def continuous(lemma: str) -> str:
    """The first word of the lemma with -ing, as in "walking", "taking off" and "running"."""
    first, space, rest = lemma.partition(" ")
    return f"{_before_vowel(first)}ing{space}{rest}"


def past(lemma: str) -> str:
    """The first word of the lemma with -ed; irregular verbs come out wrong, and still mean what they mean."""
    first, space, rest = lemma.partition(" ")
    stem = f"{first[:-1]}i" if first.endswith("y") and first[-2:-1] not in VOWELS else _before_vowel(first)
    return f"{stem}ed{space}{rest}"


def _before_vowel(verb: str) -> str:
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1]
    is_doubled = len(verb) == 3 and verb[-1] not in f"{VOWELS}wxy" and verb[-2] in VOWELS and verb[0] not in VOWELS
    return f"{verb}{verb[-1]}" if is_doubled else verb
