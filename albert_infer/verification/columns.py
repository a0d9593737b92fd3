"""The columns of published files and their types, declared independently of `schema`.

`schema` declares them for the steps that publish. Only a separate declaration reveals an error there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from albert_infer.schema import (
    BEST,
    DETAIL,
    HYPOTHESIS,
    HYPOTHESIS_END,
    HYPOTHESIS_ID,
    HYPOTHESIS_SENTENCE,
    HYPOTHESIS_START,
    LABEL,
    N_PAIRS,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PAIR_ID,
    PREMISE,
    PREMISE_END,
    PREMISE_SENTENCE,
    PREMISE_START,
    REJECTION,
    SCORE,
    SOURCE_FILE,
    SOURCE_ROW,
    TOP,
    TOP_SCORES,
    TRUNCATED,
)
from albert_infer.verification.claims import Plan
from albert_infer.verification.expansion import Expansion, Hypotheses

ID_TYPES: Final = (pa.string(), pa.int64(), pa.uint64())
TEXT_FIELDS: Final = (pa.field(PREMISE, pa.string()), pa.field(HYPOTHESIS, pa.string()))
SOURCE_FIELDS: Final = (pa.field(SOURCE_FILE, pa.string()), pa.field(SOURCE_ROW, pa.int64()))
# The index of a label is the index of its probability.
LABELS: Final = ("entailment", "neutral", "contradiction")
TWO_LABELS: Final = ("entailment", "not_entailment")
VERDICT_FIELDS: Final = (pa.field(REJECTION, pa.string()), pa.field(DETAIL, pa.string()))
# For each text that is split: the index of the sentence, and where the sentence begins and ends in the text.
SENTENCES: Final = {
    PREMISE: (PREMISE_SENTENCE, PREMISE_START, PREMISE_END),
    HYPOTHESIS: (HYPOTHESIS_SENTENCE, HYPOTHESIS_START, HYPOTHESIS_END),
}
COUNT_TYPE: Final = pa.int32()


@dataclass(frozen=True)
class OutputColumns:
    """The columns that a plan's files must have, and the input's names of copied columns."""

    # Pairs of input name and output name, in the order of the output: the id if there is one, the texts, the others.
    taken: tuple[tuple[str, str], ...]
    with_source: bool
    max_tokens: int
    review_below: float | None = None
    with_windows: bool = False
    may_lack_carried: bool = False
    labels: tuple[str, ...] = LABELS
    # None if each row is one pair.
    expansion: Expansion | None = None
    hypotheses: Hypotheses = ()

    @classmethod
    def of(cls, plan: Plan) -> OutputColumns:
        """The columns of a plan."""
        columns, ids = plan.recipe.columns, [PAIR_ID] if plan.with_ids else []
        names = [*ids, *(PREMISE, HYPOTHESIS)[: len(plan.texts)], *columns[len(ids) + len(plan.texts) :]]
        recipe = plan.recipe
        taken = tuple(zip(columns, names, strict=True))
        return cls(
            taken=taken,
            with_source=recipe.with_source,
            max_tokens=recipe.max_length,
            review_below=recipe.review_below,
            with_windows=recipe.long_premise is not None,
            may_lack_carried=plan.may_lack_carried,
            labels=TWO_LABELS if len(recipe.model.label_map) == len(TWO_LABELS) else LABELS,
            expansion=recipe.expansion,
            hypotheses=plan.hypotheses,
        )

    @property
    def carried(self) -> list[str]:
        """The input's names of the carried columns."""
        return [name for name, output_name in self.taken if output_name not in (PAIR_ID, PREMISE, HYPOTHESIS)]

    @property
    def labels_are_pairs(self) -> bool:
        """Whether the files of labels have one row for each of several pairs of a row."""
        return self.expansion is not None and self.expansion.publish == "pairs"

    @property
    def with_set(self) -> bool:
        """Whether the hypotheses are a set."""
        return self.expansion is not None and self.expansion.with_set

    @property
    def ids_of_set(self) -> list[str]:
        """The ids of the hypotheses of the set, in its order."""
        return [hypothesis_id for hypothesis_id, _ in self.hypotheses]

    @property
    def split_texts(self) -> list[str]:
        """The texts that are split into sentences."""
        if self.expansion is None:
            return []
        is_split = {PREMISE: self.expansion.split_premise, HYPOTHESIS: self.expansion.split_hypothesis}
        return [name for name, split in is_split.items() if split]

    @property
    def added(self) -> list[pa.Field]:
        """The columns that labelling adds to a file of labels."""
        if self.expansion is None or self.labels_are_pairs:
            return self.added_to_pairs
        counts = [pa.field(N_PAIRS, COUNT_TYPE), pa.field(N_TOKENS, COUNT_TYPE), pa.field(TRUNCATED, pa.bool_())]
        return [*self._result(self.expansion), *counts, *self._optional]

    @property
    def added_to_pairs(self) -> list[pa.Field]:
        """The columns that labelling adds to a pair."""
        names = [name for text in self.split_texts for name in SENTENCES[text]]
        ids = [pa.field(HYPOTHESIS_ID, pa.string())] if self.with_set else []
        ranks = self.expansion is not None and self.expansion.ranks
        return [
            *ids,
            *(pa.field(name, COUNT_TYPE) for name in names),
            *self._verdict,
            pa.field(N_TOKENS, COUNT_TYPE),
            pa.field(TRUNCATED, pa.bool_()),
            *self._optional,
            *([pa.field(SCORE, pa.float32())] if ranks else []),
        ]

    @property
    def probabilities(self) -> list[str]:
        """The names of the columns with the probability of each label."""
        return [f"p_{label}" for label in self.labels]

    @property
    def labelled(self) -> list[str]:
        """The column names of a file of labels."""
        if self.labels_are_pairs:
            return self.pairs
        return [*(name for _, name in self.taken), *self._source, *(field.name for field in self.added)]

    @property
    def pairs(self) -> list[str]:
        """The column names of a file of pairs: always with both texts."""
        names = [name for _, name in self.taken if name not in (PREMISE, HYPOTHESIS)]
        names[names.count(PAIR_ID) : names.count(PAIR_ID)] = [PREMISE, HYPOTHESIS]
        return [*names, *self._source, *(field.name for field in self.added_to_pairs)]

    @property
    def rejected(self) -> list[str]:
        """The column names of a file of rejected rows: without the texts, always with the source."""
        without_texts = [name for _, name in self.taken if name not in (PREMISE, HYPOTHESIS)]
        return [*without_texts, *(field.name for field in (*SOURCE_FIELDS, *VERDICT_FIELDS))]

    @property
    def _source(self) -> list[str]:
        return [field.name for field in SOURCE_FIELDS] if self.with_source else []

    @property
    def _verdict(self) -> list[pa.Field]:
        return [pa.field(LABEL, pa.string()), *(pa.field(name, pa.float32()) for name in self.probabilities)]

    @property
    def _optional(self) -> list[pa.Field]:
        review = [] if self.review_below is None else [pa.field(NEEDS_REVIEW, pa.bool_())]
        return [*review, *([pa.field(N_WINDOWS, COUNT_TYPE)] if self.with_windows else [])]

    def _result(self, expansion: Expansion) -> list[pa.Field]:
        """The columns of a row's result."""
        score = pa.field(SCORE, pa.float32())
        if expansion.ranks:
            lists = [pa.field(TOP, pa.list_(pa.string())), pa.field(TOP_SCORES, pa.list_(pa.float32()))]
            return [pa.field(BEST, pa.string()), score, *lists]
        ids = [pa.field(HYPOTHESIS_ID, pa.string())] if self.with_set else []
        indices = [pa.field(SENTENCES[text][0], COUNT_TYPE) for text in self.split_texts]
        return [*(self._verdict if expansion.chooses else [score]), *ids, *indices]


def unlike_columns(actual: pa.Schema, names: list[str], added: Iterable[pa.Field]) -> list[tuple[str, str, str]]:
    """The differences of column names, else of types, as (name, expected, actual); `added` are declared columns."""
    if actual.names != names:
        return [("columns", ", ".join(names), ", ".join(actual.names))]
    return [(f"column {name} of type", kind, str(actual.field(name).type)) for name, kind in _types(actual, added)]


def _types(actual: pa.Schema, added: Iterable[pa.Field]) -> Iterator[tuple[str, str]]:
    """The expected types of declared columns with another type in a schema; carried columns may have any type."""
    for field in (*TEXT_FIELDS, *SOURCE_FIELDS, *added):
        # Arrow compares lists without the name that Parquet gives to their values.
        if field.name in actual.names and actual.field(field.name).type != field.type:
            yield field.name, str(field.type)
    if PAIR_ID in actual.names and actual.field(PAIR_ID).type not in ID_TYPES:
        yield PAIR_ID, " or ".join(map(str, ID_TYPES))
