"""The columns of one run: what is read, what each step adds, and what is written."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from albert_infer.schema.expansion import COUNT_FIELDS, Expansion
from albert_infer.schema.labels import THREE_LABELS, LabelSet
from albert_infer.schema.names import (
    BOUNDS,
    HYPOTHESIS,
    HYPOTHESIS_BOUNDS,
    HYPOTHESIS_PARTS,
    PAIR_ID,
    PARTS,
    POSITION_FIELDS,
    PREMISE,
    PREMISE_BOUNDS,
    PREMISE_PARTS,
    REVIEW_FIELD,
    SOURCE_FIELDS,
    TOKEN_FIELDS,
    VERDICT_FIELDS,
    WINDOW_TOKEN_FIELDS,
    WINDOWS_FIELD,
    label_fields,
)


@dataclass(frozen=True)
class PairColumns:
    """The input columns that make a pair, and the columns that the output has in addition."""

    premise: str = PREMISE
    hypothesis: str = HYPOTHESIS
    pair_id: str | None = None
    # pa.string(), pa.int64() or pa.uint64(); None without ids.
    id_type: pa.DataType | None = None
    carried: tuple[pa.Field, ...] = ()
    # Whether a carried column is null for a file without the column; if False, such a file is quarantined.
    may_lack_carried: bool = False
    with_source: bool = False
    # With a number, the output has `needs_review`: whether the largest probability is below the number.
    review_below: float | None = None
    # Whether long premises are cut into windows; then the output has `n_windows`.
    with_windows: bool = False
    # The class names of carried columns, where all files have the same ones; written into the output's metadata.
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    # The labels of the checkpoint.
    labels: LabelSet = THREE_LABELS

    # How a row becomes several pairs; None if each row is one pair.
    expansion: Expansion | None = None

    @property
    def texts(self) -> dict[str, str]:
        """The text columns: their names in the input by their names in the output. A set is not in the input."""
        texts = {PREMISE: self.premise, HYPOTHESIS: self.hypothesis}
        if self.expansion is not None and self.expansion.hypotheses is not None:
            del texts[HYPOTHESIS]
        return texts

    @property
    def input_names(self) -> list[str]:
        """The columns to read from a file, ordered as `pair_fields`."""
        ids = [] if self.pair_id is None else [self.pair_id]
        return [*ids, *self.texts.values(), *(field.name for field in self.carried)]

    @property
    def pair_fields(self) -> list[pa.Field]:
        """The same columns with their names and types after reading: the first columns of every later table."""
        return [*self._id_fields, *(pa.field(name, pa.string()) for name in self.texts), *self.carried]

    @property
    def prepared(self) -> pa.Schema:
        """The schema of the tables between the read+prepare stage and the classify stage."""
        return pa.schema([*POSITION_FIELDS, *self.pair_fields, *VERDICT_FIELDS, *self.token_fields])

    @property
    def token_fields(self) -> list[pa.Field]:
        """The columns that tokenization adds."""
        if self.expansion is None:
            return [*TOKEN_FIELDS, *(WINDOW_TOKEN_FIELDS if self.with_windows else ())]
        bounds = {PREMISE_BOUNDS: self.expansion.split_premise, HYPOTHESIS_BOUNDS: self.expansion.split_hypothesis}
        return [
            *(pa.field(name, PARTS) for name in (PREMISE_PARTS, HYPOTHESIS_PARTS)),
            *(pa.field(name, BOUNDS) for name, is_split in bounds.items() if is_split),
            *COUNT_FIELDS,
            *self._windows_fields,
        ]

    @property
    def label_fields(self) -> list[pa.Field]:
        """The columns that labelling adds to a pair."""
        return [*label_fields(self.labels), *self._review_fields, *self._windows_fields]

    @property
    def labelled(self) -> pa.Schema:
        """The schema of the files that readers of the output see: pairs, or scores of rows."""
        if self.expansion is None or not self.expansion.publishes_scores:
            return self.pairs
        results = [*self.expansion.result_fields(self.labels), *self._review_fields, *self._windows_fields]
        return pa.schema([*self.pair_fields, *self._source_fields, *results])

    @property
    def pairs(self) -> pa.Schema:
        """The schema of a file of labelled pairs."""
        if self.expansion is None:
            return pa.schema([*self.pair_fields, *self._source_fields, *self.label_fields])
        texts = [pa.field(name, pa.string()) for name in (PREMISE, HYPOTHESIS)]
        pair = [*self.expansion.pair_fields, *self.label_fields, *self.expansion.pair_score_fields]
        return pa.schema([*self._id_fields, *texts, *self.carried, *self._source_fields, *pair])

    @property
    def rejected(self) -> pa.Schema:
        """The schema of a file of rejected rows: without the texts, always with the source file and row."""
        return pa.schema([*self._id_fields, *self.carried, *SOURCE_FIELDS, *VERDICT_FIELDS])

    @property
    def _id_fields(self) -> list[pa.Field]:
        return [] if self.pair_id is None else [pa.field(PAIR_ID, self.id_type)]

    @property
    def _source_fields(self) -> list[pa.Field]:
        return list(SOURCE_FIELDS) if self.with_source else []

    @property
    def _review_fields(self) -> list[pa.Field]:
        return [] if self.review_below is None else [REVIEW_FIELD]

    @property
    def _windows_fields(self) -> list[pa.Field]:
        return [WINDOWS_FIELD] if self.with_windows else []
