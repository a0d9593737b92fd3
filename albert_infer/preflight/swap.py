"""Detects whether premise and hypothesis look exchanged: by their texts, and then also by the model's labels.

The result is a guess, so it is a warning and never an error. False alarms cost trust, so three signs must agree. Pairs
with texts of similar length, or without repeated texts, give no warning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.classify.classification import Classifier
from albert_infer.prepare.tokenization import encoded_pairs
from albert_infer.schema import (
    HYPOTHESIS,
    INPUT_IDS,
    LABEL,
    LONG_PREMISE,
    N_WINDOWS,
    PREMISE,
    PREMISE_TOKENS,
    EncodedPairs,
    NliLabel,
)

# Fewer pairs do not show how often texts repeat.
LEAST_PAIRS: Final = 50
# Measured on 9,842 and 4,816 pairs of SNLI, 5,015 of MultiNLI and the 306 of the package, in order and exchanged:
#
#                                                                in order     exchanged
#   pairs whose hypothesis is the longer text                   2 to 18 %     81 to 98 %
#   rows whose premise is also in an earlier row               66 to 67 %      0 to  2 %
#   rows whose hypothesis is also in an earlier row             0 to  2 %     66 to 67 %
#   backwards, of pairs that entail one way only (built-in)     2 to 28 %     72 to 98 %
#
# Correct pairs may show one sign: hypotheses that are labels repeat, and claims may be longer than their evidence.
# Repeats are counted within a unit. A large input has fewer of them per unit, so the threshold is small.
HYPOTHESIS_LONGER: Final = 2 / 3
REPEATS: Final = 0.05
TIMES_THE_PREMISES: Final = 4
BACKWARDS: Final = 0.6
# Pairs to classify in both directions, if the texts look exchanged. About a third of them, 130, entail one way only.
# Correct pairs (28 % backwards) never reach the threshold of 60 %; exchanged pairs (72 %) miss it once in 1,000 runs.
LABELLED_PAIRS: Final = 400
LEAST_ONE_WAY: Final = 10


@dataclass(frozen=True)
class Texts:
    """Counts over `pairs` pairs with two texts: longer hypotheses, and texts that are also in an earlier row."""

    pairs: int = 0
    hypothesis_longer: int = 0
    premise_repeats: int = 0
    hypothesis_repeats: int = 0

    def __add__(self, other: Texts) -> Texts:
        return Texts(
            self.pairs + other.pairs,
            self.hypothesis_longer + other.hypothesis_longer,
            self.premise_repeats + other.premise_repeats,
            self.hypothesis_repeats + other.hypothesis_repeats,
        )

    @property
    def look_exchanged(self) -> bool:
        """Whether both signs of the texts show an exchange."""
        return (
            self.pairs >= LEAST_PAIRS
            and self.hypothesis_longer >= HYPOTHESIS_LONGER * self.pairs
            and self.hypothesis_repeats >= max(REPEATS * self.pairs, TIMES_THE_PREMISES * self.premise_repeats)
        )


@dataclass(frozen=True)
class Swap:
    """The counts of the texts; and of the labels, if the texts look exchanged.

    `one_way` pairs entail in one direction only, `backwards` of these from hypothesis to premise.
    """

    texts: Texts
    one_way: int
    backwards: int
    suspected: bool

    def warning(self) -> str:
        """The warning for suspected columns."""
        pairs = self.texts.pairs
        return (
            "premise and hypothesis look exchanged: "
            f"the hypothesis is the longer text in {self.texts.hypothesis_longer / pairs:.0%} of {pairs:,} pairs, "
            f"its texts repeat in {self.texts.hypothesis_repeats / pairs:.0%}, "
            f"and {self.backwards} of {self.one_way} pairs that entail one way only entail backwards; "
            "if they are, give --premise-column and --hypothesis-column the other way round"
        )


def texts_of(pairs: pa.Table) -> Texts:
    """The counts of the texts of these pairs."""
    has_texts = pc.and_(pc.is_valid(pairs[PREMISE]), pc.is_valid(pairs[HYPOTHESIS]))
    # As bytes, because not every text is UTF-8.
    premises, hypotheses = (pairs[name].filter(has_texts).cast(pa.binary()) for name in (PREMISE, HYPOTHESIS))
    longer = pc.greater(pc.binary_length(hypotheses), pc.binary_length(premises))
    return Texts(
        pairs=len(premises),
        hypothesis_longer=pc.sum(longer).as_py() or 0,
        premise_repeats=len(premises) - pc.count_distinct(premises).as_py(),
        hypothesis_repeats=len(hypotheses) - pc.count_distinct(hypotheses).as_py(),
    )


def detect_swap(classifier: Classifier, texts: Iterable[Texts], prepared: pa.Table) -> Swap:
    """Check the texts; if they look exchanged, label some of the `prepared` pairs in both directions."""
    together = sum(texts, Texts())
    if not together.look_exchanged:
        return Swap(together, one_way=0, backwards=0, suspected=False)
    sampled = prepared.take(np.unique(np.linspace(0, prepared.num_rows - 1, LABELLED_PAIRS).astype(np.int64)))
    # Of a premise in windows only the first is used: windows cannot become a hypothesis.
    sampled = sampled.drop_columns([name for name in (LONG_PREMISE, N_WINDOWS) if name in sampled.column_names])
    forth, back = (_entailed(classifier.classified(each)) for each in (sampled, exchanged(sampled)))
    one_way, backwards = int((forth ^ back).sum()), int((back & ~forth).sum())
    return Swap(together, one_way, backwards, one_way >= LEAST_ONE_WAY and backwards >= BACKWARDS * one_way)


def exchanged(prepared: pa.Table) -> pa.Table:
    """The prepared pairs with premise and hypothesis exchanged. Rows without tokens do not change."""
    pairs = encoded_pairs(prepared)
    offsets = pa.array(pairs.offsets.astype(np.int32))
    ids = pa.ListArray.from_arrays(offsets, pa.array(_exchanged_ids(pairs)))
    # The tokens of the other text, [CLS] and [SEP].
    segments = np.where(pairs.lengths > 0, pairs.lengths - pairs.premise_segment_tokens + 1, 0).astype(np.int32)
    for name, column in ((INPUT_IDS, ids), (PREMISE_TOKENS, pa.array(segments))):
        prepared = prepared.set_column(prepared.column_names.index(name), name, column)
    return prepared


def _exchanged_ids(pairs: EncodedPairs) -> NDArray[np.int32]:
    """The token ids after [CLS], `premise [SEP] hypothesis [SEP]`, rotated by the length of `premise [SEP]`."""
    lengths = np.repeat(pairs.lengths, pairs.lengths)
    begins = np.repeat(pairs.offsets[:-1], pairs.lengths)
    shift = np.repeat(pairs.premise_segment_tokens - 1, pairs.lengths)
    positions = np.arange(len(pairs.input_ids)) - begins
    rotated = 1 + (positions - 1 + shift) % (lengths - 1)
    return pairs.input_ids[begins + np.where(positions == 0, 0, rotated)]


def _entailed(labelled: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(labelled[LABEL].to_numpy() == NliLabel.ENTAILMENT, dtype=np.bool_)
