"""Small changes to a sentence, so that the new sentence and the old one are a pair worth labelling.

Some changes keep the meaning, some widen it, some contradict it. The teacher says which: an edit needs no label.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from recipes.builtin.lexicon import Lexicon
from recipes.builtin.word_forms import replaced_words
from recipes.builtin.word_lists import (
    ARTICLES,
    AUXILIARIES,
    CLAUSE_STARTS,
    EXCHANGED_AROUND,
    FRAMES,
    IN_ROW,
    MODALS,
    NUMBERS,
    PREPOSITIONS,
    QUANTIFIERS,
)

Edit = Callable[["Editor", list[str], random.Random], list[str] | None]

WORDS: Final = re.compile(r"[A-Za-z0-9$%]+(?:['\u2019.,:-][A-Za-z0-9]+)*['\u2019]?|[^\sA-Za-z0-9]")
NO_SPACE_BEFORE: Final = re.compile(r"\s+([.,;:!?)%])")
# A shorter sentence says too little.
MIN_WORDS: Final = 3
# Words of an ending that fits other sentences.
ENDING_WORDS: Final = range(2, 8)
# Words that other edits change better than WordNet does.
FIXED_WORDS: Final = frozenset((*IN_ROW, *QUANTIFIERS, *NUMBERS))


@dataclass(frozen=True)
class Editor:
    """Edits with the words of `lexicon`, the names in `names`, and the endings in `endings` of other sentences."""

    lexicon: Lexicon
    names: Sequence[str]
    endings: Sequence[str]

    def edited(self, text: str, count: int, seed: str) -> list[str]:
        """At most `count` different sentences, each with one change, or sometimes two. The seed decides which."""
        rng = random.Random(f"{seed}:{text}")  # noqa: S311 - the same on every machine, and no secret
        results: dict[str, None] = {}
        kinds = list(EDITS)
        rng.shuffle(kinds)
        words = words_of(text)
        for edit in kinds * 2 if len(words) >= MIN_WORDS else []:
            if len(results) >= count:
                break
            changed = edit(self, words, rng)
            if changed is not None and len(changed) >= MIN_WORDS and rng.random() < SECOND_EDIT:
                changed = rng.choice(EDITS)(self, changed, rng) or changed
            if changed is not None and len(changed) >= MIN_WORDS:
                results[joined(changed)] = None
        results.pop(text, None)
        return list(results)


# The share of sentences with a second change.
SECOND_EDIT: Final = 0.3


def words_of(text: str) -> list[str]:
    """Words and punctuation."""
    return WORDS.findall(text)


def joined(words: Sequence[str]) -> str:
    """A sentence of words and punctuation, that starts with a capital letter."""
    text = NO_SPACE_BEFORE.sub(r"\1", " ".join(words))
    return text[:1].upper() + text[1:]


def names_in(texts: Sequence[str]) -> list[str]:
    """Words that only occur with a capital letter, in the order of the texts; the first word of a text says nothing."""
    names: dict[str, None] = {}
    lower = {word for text in texts for word in words_of(text) if word.islower()}
    for text in texts:
        names.update(dict.fromkeys(word for word in words_of(text)[1:] if word.istitle() and word.lower() not in lower))
    return [name for name in names if len(name) > 2 and name.isalpha()]


def endings_in(texts: Sequence[str]) -> list[str]:
    """The last phrases of the texts that start with a preposition or a conjunction."""
    endings: dict[str, None] = {}
    for text in texts:
        words = _without_stop(words_of(text))
        cuts = [at for at, word in enumerate(words) if word.lower() in PREPOSITIONS and at >= MIN_WORDS]
        if cuts and len(words) - cuts[-1] in ENDING_WORDS:
            endings[" ".join(words[cuts[-1] :])] = None
    return list(endings)


def _without_stop(words: list[str]) -> list[str]:
    """The words without punctuation at their end."""
    end = len(words)
    while end and not words[end - 1][0].isalnum():
        end -= 1
    return words[:end]


def _row_word(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    places = [at for at, word in enumerate(words) if word.lower() in IN_ROW]
    return _with(words, rng, places, lambda word: IN_ROW[word.lower()])


def _lexicon_word(editor: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    found = {
        at: replaced_words(word, editor.lexicon)
        for at, word in enumerate(words)
        if word.islower() and len(word) > 2 and word not in FIXED_WORDS
    }
    places = [at for at, others in found.items() if others]
    if not places:
        return None
    at = rng.choice(places)
    # The kinds are as likely as each other, though there are more siblings.
    return [*words[:at], rng.choice(rng.choice(found[at])), *words[at + 1 :]]


def _number(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    places = [at for at, word in enumerate(words) if word.lower() in NUMBERS or (word.isdecimal() and word.isascii())]

    def others(word: str) -> Sequence[str]:
        if word.isdecimal():
            number = int(word[:9])
            return [
                str(other) for other in (number + 1, max(0, number - 1), number * 2, number + 10) if other != number
            ]
        return [other for other in NUMBERS if other != word.lower()]

    return _with(words, rng, places, others)


def _quantifier(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    places = [at for at, word in enumerate(words) if word.lower() in {*QUANTIFIERS, *NUMBERS, "the", "a", "an"}]
    return _with(words, rng, places, lambda word: [other for other in QUANTIFIERS if other != word.lower()])


def _negation(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    negations = [
        at for at, word in enumerate(words) if word.lower() in ("not", "never") or word.lower().endswith("n't")
    ]
    if negations:
        at = rng.choice(negations)
        return [*words[:at], *([words[at][:-3]] if words[at].lower().endswith("n't") else []), *words[at + 1 :]]
    places = [at for at, word in enumerate(words) if word.lower() in AUXILIARIES]
    if not places:
        return None
    at = rng.choice(places)
    return [*words[: at + 1], rng.choice(("not", "not", "never", "no longer")), *words[at + 1 :]]


def _modal(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    places = [at for at, word in enumerate(words) if word.lower() in ("is", "are", "was", "were", *MODALS)]
    if not places:
        return None
    at = rng.choice(places)
    is_modal = words[at].lower() in MODALS
    return [*words[:at], rng.choice(MODALS), *([] if is_modal else ["be"]), *words[at + 1 :]]


def _name(editor: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    places = [at for at, word in enumerate(words) if at and word.istitle() and len(word) > 2]
    return _with(words, rng, places, lambda word: editor.names) if editor.names else None


def _without_ending(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    cuts = [at for at, word in enumerate(words) if word.lower() in PREPOSITIONS and at >= MIN_WORDS]
    return [*_without_stop(words[: rng.choice(cuts)]), "."] if cuts else None


def _clause(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    cuts = [at for at, word in enumerate(words) if word.lower() in CLAUSE_STARTS]
    parts = [_without_stop(part) for at in cuts for part in (words[:at], words[at + 1 :])]
    long = [part for part in parts if len(part) > MIN_WORDS]
    return [*rng.choice(long), "."] if long else None


def _without_word(editor: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    descriptive = {**editor.lexicon.words["adj"], **editor.lexicon.words["adv"]}
    places = [at for at, word in enumerate(words) if word in descriptive or word.endswith("ly")]
    if not places:
        return None
    at = rng.choice(places)
    return [*words[:at], *words[at + 1 :]]


def _other_ending(editor: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    if not editor.endings:
        return None
    return [*_without_stop(words), *words_of(rng.choice(editor.endings)), "."]


def _exchanged(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    """The parts before and after a word such as "than" or "and" in each other's place."""
    body = _without_stop(words)
    places = [at for at, word in enumerate(body[:-1]) if at and word.lower() in EXCHANGED_AROUND]
    if not places:
        return None
    at = rng.choice(places)
    return [*body[at + 1 :], body[at], *_lowered(body[:at]), "."]


def _framed(_: Editor, words: list[str], rng: random.Random) -> list[str] | None:
    return [*rng.choice(FRAMES), *_lowered(words)]


def _lowered(words: list[str]) -> list[str]:
    """The words of a sentence as they are inside another one."""
    is_name = words[0].lower() not in ARTICLES and words[0].lower() not in IN_ROW
    return words if is_name else [words[0].lower(), *words[1:]]


def _with(
    words: list[str], rng: random.Random, places: Sequence[int], others: Callable[[str], Sequence[str]]
) -> list[str] | None:
    """The words with one of `places` replaced by one of `others`."""
    if not places:
        return None
    at = rng.choice(list(places))
    return [*words[:at], rng.choice(list(others(words[at]))), *words[at + 1 :]]


# Those that are here twice are tried more often.
EDITS: Final[tuple[Edit, ...]] = (
    _lexicon_word,
    _lexicon_word,
    _lexicon_word,
    _row_word,
    _row_word,
    _number,
    _quantifier,
    _negation,
    _negation,
    _modal,
    _name,
    _without_ending,
    _without_ending,
    _clause,
    _clause,
    _without_word,
    _other_ending,
    _exchanged,
    _framed,
)
