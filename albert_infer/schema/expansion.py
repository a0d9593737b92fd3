"""How a row becomes several pairs, and how their probabilities become one result of the row.

Without an expansion each row is one pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

import pyarrow as pa

from albert_infer.schema.labels import LabelSet
from albert_infer.schema.names import N_TOKENS, TRUNCATED, probable_label_fields

# The id of a hypothesis of the set, and the index of a sentence in its text.
HYPOTHESIS_ID: Final = "hypothesis_id"
PREMISE_SENTENCE: Final = "premise_sentence"
HYPOTHESIS_SENTENCE: Final = "hypothesis_sentence"
# Where the sentence begins and ends in its text, in characters.
PREMISE_START: Final = "premise_start"
PREMISE_END: Final = "premise_end"
HYPOTHESIS_START: Final = "hypothesis_start"
HYPOTHESIS_END: Final = "hypothesis_end"
# The results of rules that give a score.
BEST: Final = "best"
SCORE: Final = "score"
TOP: Final = "top"
TOP_SCORES: Final = "top_scores"
N_PAIRS: Final = "n_pairs"

HYPOTHESIS_ID_FIELD: Final = pa.field(HYPOTHESIS_ID, pa.string())
SCORE_FIELD: Final = pa.field(SCORE, pa.float32())
TOPIC_FIELDS: Final = (
    pa.field(BEST, pa.string()),
    SCORE_FIELD,
    pa.field(TOP, pa.list_(pa.string())),
    pa.field(TOP_SCORES, pa.list_(pa.float32())),
)
COUNT_FIELDS: Final = (
    pa.field(N_PAIRS, pa.int32()),
    pa.field(N_TOKENS, pa.int32()),
    pa.field(TRUNCATED, pa.bool_()),
)

# What makes a hypothesis of the name of a candidate, which goes in place of the braces.
DEFAULT_TEMPLATE: Final = "This text is about {}."
# The number of hypotheses in `top`.
DEFAULT_TOP_K: Final = 5

# A document of 300 sentences with a summary of 200, or one of six with the 10,000 hypotheses of the largest set.
MAX_PAIRS: Final = 60_000

# The tables that a run publishes: each pair, one score a row, or both.
Publish = Literal["pairs", "scores", "both"]
Split = Literal["sentences"]


class FoldRule(StrEnum):
    """How the probabilities of a row's pairs become one result. `classify.folds` has the definitions."""

    TOPICS = "topics"
    TOPICS_MULTI = "topics_multi"
    SUMMAC_ZS = "summac_zs"
    ANY_ENTAILMENT = "any_entailment"
    ANY_CONTRADICTION = "any_contradiction"
    ENTAILMENT_FIRST = "entailment_first"

    @property
    def chooses_pair(self) -> bool:
        """Whether the row gets the label and the probabilities of one of its pairs; else the row gets a score."""
        return self in (FoldRule.ANY_ENTAILMENT, FoldRule.ANY_CONTRADICTION, FoldRule.ENTAILMENT_FIRST)

    @property
    def ranks_hypotheses(self) -> bool:
        """Whether the result is a ranking of the hypotheses of a set."""
        return self in (FoldRule.TOPICS, FoldRule.TOPICS_MULTI)


@dataclass(frozen=True)
class HypothesisSet:
    """The hypotheses that each premise is paired with. Ids are unique; texts are not blank."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Expansion:
    """The pairs of a row, the rule that folds them, and the tables to publish.

    The pairs of a row are its hypotheses (of the set, or of the row) with each part of its premise: first all parts
    with the first hypothesis, then all parts with the second.
    """

    fold: FoldRule
    publish: Publish = "scores"
    # None if each row has its own hypothesis.
    hypotheses: HypothesisSet | None = None
    split_premise: bool = False
    split_hypothesis: bool = False
    # The number of hypotheses in `top`.
    top_k: int = DEFAULT_TOP_K
    # The name and the version of the library that splits; empty without a split.
    splitter: str = ""

    @property
    def publishes_pairs(self) -> bool:
        """Whether a table of pairs is published."""
        return self.publish != "scores"

    @property
    def publishes_scores(self) -> bool:
        """Whether a table with one row for each input row is published."""
        return self.publish != "pairs"

    @property
    def index_fields(self) -> list[pa.Field]:
        """The columns that name one pair of a row."""
        return [field for field, *_ in self._indices()]

    @property
    def pair_fields(self) -> list[pa.Field]:
        """The columns of a table of pairs that name the pair: its indices, and where its sentences are."""
        return [field for fields in self._indices() for field in fields]

    def result_fields(self, labels: LabelSet) -> list[pa.Field]:
        """The columns of a table of scores that the rule gives, and the counts of the row's pairs."""
        if self.fold.ranks_hypotheses:
            return [*TOPIC_FIELDS, *COUNT_FIELDS]
        result = probable_label_fields(labels) if self.fold.chooses_pair else (SCORE_FIELD,)
        return [*result, *self.index_fields, *COUNT_FIELDS]

    @property
    def pair_score_fields(self) -> list[pa.Field]:
        """The columns of a table of pairs that the rule gives."""
        return [SCORE_FIELD] if self.fold.ranks_hypotheses else []

    def _indices(self) -> Iterator[tuple[pa.Field, ...]]:
        if self.hypotheses is not None:
            yield (HYPOTHESIS_ID_FIELD,)
        for is_split, names in (
            (self.split_premise, (PREMISE_SENTENCE, PREMISE_START, PREMISE_END)),
            (self.split_hypothesis, (HYPOTHESIS_SENTENCE, HYPOTHESIS_START, HYPOTHESIS_END)),
        ):
            if is_split:
                yield tuple(pa.field(name, pa.int32()) for name in names)
