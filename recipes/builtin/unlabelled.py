"""The pairs without a label that the teacher answers and the student learns from.

They are made of the sentences of the labelled training pairs and of WordNet's example sentences. No sentence that
measures or calibrates is among them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.schema import HYPOTHESIS, PREMISE
from recipes.builtin.edits import Editor, endings_in, names_in
from recipes.builtin.lexicon import Lexicon
from recipes.builtin.neighbours import nearest
from recipes.builtin.recombination import recombined

KIND: Final = "kind"
Pair = tuple[str, str]
# Vectors of texts, of length 1.
Encoder = Callable[[Sequence[str]], NDArray[np.float32]]

NOT_LETTERS: Final = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Amounts:
    """How many pairs are made of one sentence or pair of a corpus, by the way of making them."""

    neighbours_of_a_premise: int
    neighbours_of_a_hypothesis: int
    edits_of_a_hypothesis: int
    edits_of_a_premise: int
    edits_of_a_sentence: int
    # Every so many pairs get a premise with a second sentence.
    step_of_longer_premises: int


SNLI_AMOUNTS: Final = Amounts(
    neighbours_of_a_premise=6,
    neighbours_of_a_hypothesis=3,
    edits_of_a_hypothesis=3,
    edits_of_a_premise=1,
    edits_of_a_sentence=2,
    step_of_longer_premises=4,
)
# More, since MultiNLI has the fewer pairs and the more kinds of text.
MNLI_AMOUNTS: Final = Amounts(
    neighbours_of_a_premise=12,
    neighbours_of_a_hypothesis=6,
    edits_of_a_hypothesis=6,
    edits_of_a_premise=2,
    edits_of_a_sentence=4,
    step_of_longer_premises=1,
)
EDITS_OF_AN_EXAMPLE: Final = 3
NEIGHBOURS_OF_AN_EXAMPLE: Final = 1


@dataclass(frozen=True)
class KeptOut:
    """Sentences that no made pair may hold, and pairs that may not come back in either order."""

    sentences: frozenset[str]
    pairs: frozenset[frozenset[str]]

    @staticmethod
    def of(tables: Sequence[pa.Table]) -> KeptOut:
        """Keeps out the premises of the tables, and their pairs."""
        pairs = [pair for table in tables for pair in pairs_of(table)]
        return KeptOut(
            frozenset(normal(premise) for premise, _ in pairs),
            frozenset(frozenset(map(normal, pair)) for pair in pairs),
        )

    def has(self, pair: Pair) -> bool:
        """Whether the pair must not be trained on."""
        normals = frozenset(map(normal, pair))
        return not normals.isdisjoint(self.sentences) or normals in self.pairs


def normal(text: str) -> str:
    """The text without what the tokenizer hardly sees: capital letters, spaces and punctuation."""
    return NOT_LETTERS.sub(" ", text.lower()).strip()


def pairs_of(table: pa.Table) -> Iterator[Pair]:
    """Premise and hypothesis of each row."""
    return zip(table[PREMISE].to_pylist(), table[HYPOTHESIS].to_pylist(), strict=True)


def unlabelled_pairs(
    corpora: Sequence[tuple[pa.Table, Amounts]], lexicon: Lexicon, encoder: Encoder, kept_out: KeptOut, *, seed: int
) -> pa.Table:
    """Pairs made of each corpus and of WordNet's examples: each once, none with a label, in a random order.

    Columns premise, hypothesis and kind.
    """
    texts: dict[str, None] = {}
    has_label: set[Pair] = set()
    for table, _ in corpora:
        has_label.update(pairs_of(table))
        texts.update(dict.fromkeys(text for pair in pairs_of(table) for text in pair))
    editor = Editor(lexicon, names_in(list(texts)), endings_in(list(texts)))
    sources = [source for table, amounts in corpora for source in _sources(table, amounts, editor, encoder, seed)]
    sources += [
        ("edited_examples", _edited_sentences(lexicon.examples, editor, EDITS_OF_AN_EXAMPLE, seed)),
        ("neighbouring_examples", _neighbouring_examples(lexicon.examples, encoder)),
    ]
    made: dict[Pair, str] = {}
    for kind, pairs in sources:
        for pair in pairs:
            if pair not in has_label and normal(pair[0]) != normal(pair[1]) and not kept_out.has(pair):
                made.setdefault(pair, kind)
    rows = sorted(made.items())
    random.Random(seed).shuffle(rows)  # noqa: S311 - the same on every machine, and no secret
    columns = {
        PREMISE: [pair[0] for pair, _ in rows],
        HYPOTHESIS: [pair[1] for pair, _ in rows],
        KIND: [kind for _, kind in rows],
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def _sources(
    table: pa.Table, amounts: Amounts, editor: Editor, encoder: Encoder, seed: int
) -> list[tuple[str, Iterator[Pair]]]:
    """The ways of making pairs of a labelled corpus, by name."""
    pairs = list(pairs_of(table))
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    return [
        ("recombined", pairs_of(recombined(table))),
        ("neighbours", _neighbours(pairs, encoder, amounts)),
        ("edited_hypotheses", _edited_hypotheses(pairs, editor, amounts, seed)),
        ("edited_premises", _edited_premises(pairs, editor, amounts, seed)),
        ("edited_sentences", _edited_sentences(texts, editor, amounts.edits_of_a_sentence, seed)),
        ("longer_premises", _longer_premises(pairs, amounts, seed)),
    ]


def _neighbours(pairs: Sequence[Pair], encoder: Encoder, amounts: Amounts) -> Iterator[Pair]:
    """Each text with hypotheses of other premises that are near it."""
    premises_of: dict[str, set[str]] = {}
    for premise, hypothesis in pairs:
        premises_of.setdefault(premise, set()).add(premise)
        premises_of.setdefault(hypothesis, set()).add(premise)
    texts, hypotheses = list(premises_of), list(dict.fromkeys(hypothesis for _, hypothesis in pairs))
    counts = {premise: amounts.neighbours_of_a_premise for premise, _ in pairs}
    candidates = nearest(encoder(texts), encoder(hypotheses), min(len(hypotheses), 3 * max(counts.values())))
    for text, near in zip(texts, candidates, strict=True):
        # Pairs of one premise are made elsewhere.
        others = (hypotheses[at] for at in near if premises_of[hypotheses[at]].isdisjoint(premises_of[text]))
        for other in islice(others, counts.get(text, amounts.neighbours_of_a_hypothesis)):
            yield text, other


def _edited_hypotheses(pairs: Sequence[Pair], editor: Editor, amounts: Amounts, seed: int) -> Iterator[Pair]:
    for premise, hypothesis in pairs:
        for edited in editor.edited(hypothesis, amounts.edits_of_a_hypothesis, f"{seed}:{premise}"):
            yield premise, edited


def _edited_premises(pairs: Sequence[Pair], editor: Editor, amounts: Amounts, seed: int) -> Iterator[Pair]:
    for premise, hypothesis in pairs:
        for edited in editor.edited(premise, amounts.edits_of_a_premise, f"{seed}:{hypothesis}"):
            yield edited, hypothesis


def _edited_sentences(texts: Sequence[str], editor: Editor, count: int, seed: int) -> Iterator[Pair]:
    """Each sentence with its edits as hypotheses, and one time in three as the hypothesis of the edit."""
    for text in texts:
        for number, edited in enumerate(editor.edited(text, count, str(seed))):
            yield (edited, text) if (len(text) + number) % 3 == 0 else (text, edited)


def _longer_premises(pairs: Sequence[Pair], amounts: Amounts, seed: int) -> Iterator[Pair]:
    """Pairs with a sentence of another pair before or after its premise."""
    rng = random.Random(seed)  # noqa: S311
    for premise, hypothesis in pairs[:: amounts.step_of_longer_premises]:
        other = rng.choice(pairs)[0]
        yield f"{other} {premise}" if rng.random() < 1 / 2 else f"{premise} {other}", hypothesis


def _neighbouring_examples(examples: Sequence[str], encoder: Encoder) -> Iterator[Pair]:
    vectors = encoder(examples)
    for at, near in enumerate(nearest(vectors, vectors, min(len(examples), NEIGHBOURS_OF_AN_EXAMPLE + 1))):
        for other in [other for other in near if other != at][:NEIGHBOURS_OF_AN_EXAMPLE]:
            yield examples[at], examples[other]
