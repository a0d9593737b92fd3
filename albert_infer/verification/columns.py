"""The columns of published files and their types, declared independently of `schema`.

`schema` declares them for the steps that publish. Only a separate declaration reveals an error there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from albert_infer.schema import (
    DETAIL,
    HYPOTHESIS,
    LABEL,
    N_TOKENS,
    N_WINDOWS,
    NEEDS_REVIEW,
    PAIR_ID,
    PREMISE,
    REJECTION,
    SOURCE_FILE,
    SOURCE_ROW,
    TRUNCATED,
)
from albert_infer.verification.claims import Plan

ID_TYPES: Final = (pa.string(), pa.int64(), pa.uint64())
TEXT_FIELDS: Final = (pa.field(PREMISE, pa.string()), pa.field(HYPOTHESIS, pa.string()))
SOURCE_FIELDS: Final = (pa.field(SOURCE_FILE, pa.string()), pa.field(SOURCE_ROW, pa.int64()))
# The index of a label is the index of its probability.
LABELS: Final = ("entailment", "neutral", "contradiction")
PROBABILITIES: Final = ("p_entailment", "p_neutral", "p_contradiction")
LABEL_FIELDS: Final = (
    pa.field(LABEL, pa.string()),
    *(pa.field(name, pa.float32()) for name in PROBABILITIES),
    pa.field(N_TOKENS, pa.int32()),
    pa.field(TRUNCATED, pa.bool_()),
)
REVIEW_FIELD: Final = pa.field(NEEDS_REVIEW, pa.bool_())
WINDOWS_FIELD: Final = pa.field(N_WINDOWS, pa.int32())
VERDICT_FIELDS: Final = (pa.field(REJECTION, pa.string()), pa.field(DETAIL, pa.string()))


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

    @classmethod
    def of(cls, plan: Plan) -> OutputColumns:
        """The columns of a plan."""
        columns, ids = plan.recipe.columns, [PAIR_ID] if plan.with_ids else []
        names = [*ids, PREMISE, HYPOTHESIS, *columns[len(ids) + 2 :]]
        recipe = plan.recipe
        taken = tuple(zip(columns, names, strict=True))
        return cls(
            taken=taken,
            with_source=recipe.with_source,
            max_tokens=recipe.max_length,
            review_below=recipe.review_below,
            with_windows=recipe.long_premise is not None,
            may_lack_carried=plan.may_lack_carried,
        )

    @property
    def carried(self) -> list[str]:
        """The input's names of the carried columns."""
        return [name for name, output_name in self.taken if output_name not in (PAIR_ID, PREMISE, HYPOTHESIS)]

    @property
    def added(self) -> list[pa.Field]:
        """The columns that labelling adds."""
        review = () if self.review_below is None else (REVIEW_FIELD,)
        return [*LABEL_FIELDS, *review, *((WINDOWS_FIELD,) if self.with_windows else ())]

    @property
    def labelled(self) -> list[str]:
        """The column names of a file of labels."""
        source = SOURCE_FIELDS if self.with_source else ()
        return [*(name for _, name in self.taken), *(field.name for field in (*source, *self.added))]

    @property
    def rejected(self) -> list[str]:
        """The column names of a file of rejected rows: without the texts, always with the source."""
        without_texts = [name for _, name in self.taken if name not in (PREMISE, HYPOTHESIS)]
        return [*without_texts, *(field.name for field in (*SOURCE_FIELDS, *VERDICT_FIELDS))]


def unlike_columns(actual: pa.Schema, names: list[str], added: Iterable[pa.Field]) -> list[tuple[str, str, str]]:
    """The differences of column names, else of types, as (name, expected, actual); `added` are declared columns."""
    if actual.names != names:
        return [("columns", ", ".join(names), ", ".join(actual.names))]
    types = ((f"column {name} of type", kind, str(actual.field(name).type)) for name, kind in _types(actual, added))
    return [difference for difference in types if difference[1] != difference[2]]


def _types(actual: pa.Schema, added: Iterable[pa.Field]) -> Iterator[tuple[str, str]]:
    """The expected types of declared columns in a schema; carried columns may have any type."""
    for field in (*TEXT_FIELDS, *SOURCE_FIELDS, *added):
        if field.name in actual.names:
            yield field.name, str(field.type)
    if PAIR_ID in actual.names and actual.field(PAIR_ID).type not in ID_TYPES:
        yield PAIR_ID, " or ".join(map(str, ID_TYPES))
