"""WordNet as the recipe uses it: example sentences, and words that are wider, opposite or of the same kind.

Princeton's licence of WordNet 3.0 allows any use with its notice. Debian's package `wordnet-base` has the files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recipes.builtin.word_lists import SENTENCE_STARTS

# The parts of speech, by the names of their files, and their digits in the counts.
PARTS_OF_SPEECH: Final = {"noun": "1", "verb": "2", "adj": "3", "adv": "4"}
# Pointers of a synset: to its opposite, its wider ones (an instance's too), and an adjective's neighbours.
OPPOSITE: Final = "!"
WIDER: Final = ("@", "@i")
QUOTED: Final = re.compile(r'"([^"]+)"')
# An example is taken for a sentence by its first word and its length; the others are mostly phrases.
SENTENCE_WORDS: Final = 5
# Wider words that say nothing of a thing.
EMPTY_WORDS: Final = frozenset(
    ("entity", "object", "whole", "unit", "thing", "abstraction", "matter", "be", "act", "move")
)
# Siblings kept for each word.
MAX_SIBLINGS: Final = 12


@dataclass(frozen=True)
class Word:
    """What may take the place of a word in its most frequent sense."""

    wider: tuple[str, ...]
    opposite: tuple[str, ...]
    siblings: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Words by part of speech (`noun`, `verb`, `adj`, `adv`), and sentences in the order of the files."""

    words: Mapping[str, Mapping[str, Word]]
    examples: tuple[str, ...]


@dataclass(frozen=True)
class _Synset:
    lemmas: tuple[str, ...]
    wider: tuple[str, ...]
    # The lemma's number, the other synset and its lemma's number.
    opposites: tuple[tuple[int, str, int], ...]
    gloss: str


def read_lexicon(folder: Path) -> Lexicon:
    """Reads WordNet's `index.*` and `data.*` files. Raises `FileNotFoundError` when one is missing."""
    words: dict[str, Mapping[str, Word]] = {}
    examples: dict[str, None] = {}
    for part, digit in PARTS_OF_SPEECH.items():
        synsets = dict(_synsets(_lines(folder / f"data.{part}")))
        first_senses = dict(_first_senses(_lines(folder / f"index.{part}")))
        counts = _counts(folder / "cntlist.rev", digit)
        words[part] = dict(_words(first_senses, synsets, counts))
        examples.update(dict.fromkeys(text for synset in synsets.values() for text in _examples(synset.gloss)))
    return Lexicon(words, tuple(examples))


def _lines(path: Path) -> Iterator[list[str]]:
    """The lines of a file in fields, without those of its licence."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            fields, _, gloss = line.partition("|")
            yield [*fields.split(), gloss]


def _synsets(lines: Iterable[list[str]]) -> Iterator[tuple[str, _Synset]]:
    for offset, _, _, count, *rest in lines:
        word_count = int(count, 16)
        lemmas = tuple(lemma.partition("(")[0] for lemma in rest[: 2 * word_count : 2])
        pointers = rest[2 * word_count + 1 :]
        quads = [pointers[at : at + 4] for at in range(0, 4 * int(rest[2 * word_count]), 4)]
        wider = tuple(target for symbol, target, _, _ in quads if symbol in WIDER)
        opposites = tuple(
            (int(ends[:2], 16), target, int(ends[2:], 16)) for symbol, target, _, ends in quads if symbol == OPPOSITE
        )
        yield offset, _Synset(lemmas, wider, opposites, rest[-1])


def _first_senses(lines: Iterable[list[str]]) -> Iterator[tuple[str, str]]:
    """The first synset of each single word that occurs in Princeton's tagged texts."""
    for lemma, _, _, pointers, *rest in lines:
        tagged, first = rest[int(pointers) + 1 : int(pointers) + 3]
        if int(tagged) and "_" not in lemma:
            yield lemma, first


def _counts(path: Path, digit: str) -> Counter[str]:
    """How often a lemma occurs in the tagged texts as the part of speech of this digit."""
    counts: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, count = line.split()
        lemma, _, sense = key.partition("%")
        counts[lemma] += int(count) if sense[0] == digit else 0
    return counts


def _words(
    first_senses: Mapping[str, str], synsets: Mapping[str, _Synset], counts: Counter[str]
) -> Iterator[tuple[str, Word]]:
    children: dict[str, list[str]] = {}
    for lemma in sorted(first_senses, key=counts.__getitem__, reverse=True):
        for parent in synsets[first_senses[lemma]].wider:
            children.setdefault(parent, []).append(lemma)
    for lemma, first in first_senses.items():
        synset = synsets[first]
        siblings = [other for parent in synset.wider for other in children[parent] if other not in synset.lemmas]
        opposite = [
            synsets[target].lemmas[to - 1]
            for number, target, to in synset.opposites
            if synset.lemmas[number - 1].lower() == lemma
        ]
        wider = [name for parent in synset.wider for name in synsets[parent].lemmas[:1]]
        word = Word(_usable(wider), _usable(opposite), _usable(siblings)[:MAX_SIBLINGS])
        if word != Word((), (), ()):
            yield lemma, word


def _usable(lemmas: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lemma.replace("_", " ") for lemma in lemmas if lemma not in EMPTY_WORDS))


def _examples(gloss: str) -> Iterator[str]:
    for text in QUOTED.findall(gloss):
        words = text.strip(" ;,-").split()
        is_start = bool(words) and (words[0].lower() in SENTENCE_STARTS or words[0].istitle())
        if len(words) >= SENTENCE_WORDS and is_start:
            yield " ".join(words)
