"""The pairs of a unit as numbers, and the rules for their order, their hypotheses and their sentences.

Texts are decoded in batches. Numbers of all pairs of the unit, and each distinct text, are in memory.
"""
# ruff: noqa: N802, N803, N806, N815 - arrays end in their shape: R rows, P pairs of all rows, L labels

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.schema import (
    HYPOTHESIS,
    HYPOTHESIS_ID,
    LABEL,
    N_TOKENS,
    N_WINDOWS,
    PREMISE,
    SCORE,
    SOURCE_FILE,
    SOURCE_ROW,
    TRUNCATED,
)
from albert_infer.verification import values
from albert_infer.verification.columns import SENTENCES, OutputColumns
from albert_infer.verification.rules import RowFaults, integers, mask, numbers, positions, probabilities_of

_IS_FIRST: Final = "is_first"


@dataclass(frozen=True)
class PairText:
    """One of the two texts of P pairs."""

    # The index of the sentence, or of the hypothesis of the set; 0 for a text that is whole.
    part_P: NDArray[np.int64]
    # The index of the text among the distinct texts.
    code_P: NDArray[np.int64]
    # Where the sentence begins and ends; empty if the text is not split.
    start_P: NDArray[np.int64]
    end_P: NDArray[np.int64]


@dataclass(frozen=True)
class UnitPairs:
    """All pairs of a unit's rows. A row begins at a pair of its first premise part and its first hypothesis."""

    premise: PairText
    hypothesis: PairText
    # Each distinct text once, as UTF-8.
    texts: list[bytes]
    label_P: NDArray[np.int64]
    probability_PL: NDArray[np.float32]
    # Empty if the rule gives pairs no score.
    score_P: NDArray[np.float32]
    tokens_P: NDArray[np.int64]
    truncated_P: NDArray[np.bool_]
    # 1 in runs without windows.
    windows_P: NDArray[np.int64]
    is_first_P: NDArray[np.bool_]

    @cached_property
    def total(self) -> int:
        """The number of pairs."""
        return len(self.is_first_P)

    @cached_property
    def first_R(self) -> NDArray[np.int64]:
        """The first pair of each row."""
        return np.flatnonzero(self.is_first_P)

    @cached_property
    def count_R(self) -> NDArray[np.int64]:
        """The number of pairs of each row."""
        return np.diff(np.append(self.first_R, self.total))

    @cached_property
    def row_P(self) -> NDArray[np.int64]:
        """The row of each pair; -1 for pairs before the first row."""
        return np.cumsum(self.is_first_P) - 1

    @cached_property
    def parts_R(self) -> NDArray[np.int64]:
        """The number of premise parts of each row: the pairs with its first hypothesis."""
        return sums(self.hypothesis.part_P == 0, self.first_R)

    def of(self, name: str) -> PairText:
        """The text with this name."""
        return self.premise if name == PREMISE else self.hypothesis

    def anchors(self, name: str) -> NDArray[np.int64]:
        """For each pair, the first pair of its row with the same part of the text `name`."""
        first_P = self.first_R[self.row_P]
        if name == PREMISE:
            return first_P + self.premise.part_P
        return first_P + self.hypothesis.part_P * self.parts_R[self.row_P]


class PairReader:
    """Collects the numbers of a unit's pairs batch by batch, and notes the pairs that differ from their row."""

    def __init__(self, columns: OutputColumns, faults: RowFaults) -> None:
        self._columns = columns
        self._faults = faults
        self._numbers: dict[str, list[NDArray[Any]]] = defaultdict(list)
        self._codes: dict[bytes, int] = {}
        self._last: pa.RecordBatch | None = None
        taken = [name for _, name in columns.taken if name not in (PREMISE, HYPOTHESIS)]
        self._of_row = [*taken, *((SOURCE_FILE, SOURCE_ROW) if columns.with_source else ())]

    def add(self, first: int, batch: pa.RecordBatch) -> None:
        """Add a batch; its first pair is pair `first` of the file."""
        columns = self._columns
        added = {name: integers(batch[name]) for text in columns.split_texts for name in SENTENCES[text]}
        added[LABEL] = positions(batch[LABEL], list(columns.labels))
        added[N_TOKENS] = integers(batch[N_TOKENS])
        if columns.with_set:
            added[HYPOTHESIS_ID] = positions(batch[HYPOTHESIS_ID], columns.ids_of_set)
        if columns.with_windows:
            added[N_WINDOWS] = integers(batch[N_WINDOWS])
        for name in (PREMISE, HYPOTHESIS):
            added[name] = self._coded(batch[name])
        indices = [added[name] for name in self._indices]
        is_first = np.all([index == 0 for index in indices], axis=0)
        collected: dict[str, NDArray[Any]] = {**added, _IS_FIRST: is_first}
        collected["probabilities"] = probabilities_of(batch, columns.probabilities)
        collected[TRUNCATED] = mask(pc.fill_null(batch[TRUNCATED], False))
        if SCORE in [field.name for field in columns.added_to_pairs]:
            collected[SCORE] = numbers(batch[SCORE])
        for name, array in collected.items():
            self._numbers[name].append(array)
        self._note_strangers(first, batch, is_first)

    def pairs(self) -> UnitPairs:
        """The pairs of all batches."""
        numbers_of = {name: np.concatenate(pieces) for name, pieces in self._numbers.items()}
        total = len(numbers_of.get(_IS_FIRST, ()))
        none = np.empty(0, np.int64)
        labels = len(self._columns.labels)
        return UnitPairs(
            premise=self._text(PREMISE, numbers_of, total),
            hypothesis=self._text(HYPOTHESIS, numbers_of, total),
            texts=list(self._codes),
            label_P=numbers_of.get(LABEL, none),
            probability_PL=numbers_of.get("probabilities", np.empty((0, labels), np.float32)),
            score_P=numbers_of.get(SCORE, np.empty(0, np.float32)),
            tokens_P=numbers_of.get(N_TOKENS, none),
            truncated_P=numbers_of.get(TRUNCATED, np.empty(0, np.bool_)),
            windows_P=numbers_of.get(N_WINDOWS, np.ones(total, np.int64)),
            is_first_P=numbers_of.get(_IS_FIRST, np.empty(0, np.bool_)),
        )

    @property
    def _indices(self) -> list[str]:
        """The columns that are 0 in the first pair of a row."""
        names = [SENTENCES[text][0] for text in self._columns.split_texts]
        return [HYPOTHESIS_ID, *names] if self._columns.with_set else names

    def _text(self, name: str, numbers_of: dict[str, NDArray[Any]], total: int) -> PairText:
        none = np.empty(0, np.int64)
        part = numbers_of.get(HYPOTHESIS_ID) if name == HYPOTHESIS and self._columns.with_set else None
        start, end = none, none
        if name in self._columns.split_texts:
            part, start, end = (numbers_of.get(column, none) for column in SENTENCES[name])
        if part is None:
            part = np.zeros(total, np.int64)
        return PairText(part, numbers_of.get(name, none), start, end)

    def _coded(self, column: pa.Array) -> NDArray[np.int64]:
        """The index of each text among all distinct texts; a missing text has the index of an empty one."""
        encoded = pc.fill_null(column.cast(pa.binary()), b"").dictionary_encode()
        own = [self._codes.setdefault(text, len(self._codes)) for text in encoded.dictionary.to_pylist()]
        codes: NDArray[np.int64] = np.array(own, np.int64)[encoded.indices.to_numpy()]
        return codes

    def _note_strangers(self, first: int, batch: pa.RecordBatch, is_first: NDArray[np.bool_]) -> None:
        """Note the pairs that are not the first of their row, and have another id or value than the pair before."""
        if not batch.num_rows:
            return
        for name in self._of_row:
            before = [] if self._last is None else [(self._last[name], batch[name].slice(0, 1))]
            pieces = [*before, (batch[name].slice(0, batch.num_rows - 1), batch[name].slice(1))]
            same = np.concatenate([values.same(one, other) for one, other in pieces])
            same = same if before else np.append(True, same)
            self._faults.note(f"the {name} of its row in every pair", ~same & ~is_first, first)
        self._last = batch.slice(batch.num_rows - 1)


def sums(values_P: NDArray[Any], first_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of the values of each row's pairs; pairs before the first row belong to no row."""
    totals = np.append(0, np.cumsum(values_P.astype(np.int64)))
    return totals[np.append(first_R[1:], len(values_P))] - totals[first_R] if len(first_R) else first_R


def note_order_faults(faults: RowFaults, pairs: UnitPairs, columns: OutputColumns) -> bool:
    """Note the pairs that are not in the order of their row. Returns whether there are none.

    Only then the pairs of a row are all there, except for a last sentence that is missing everywhere.
    """
    row_P, first_R = pairs.row_P, pairs.first_R
    outside = row_P < 0
    rule = "all pairs of a row, one hypothesis after the other"
    if outside.any():
        faults.note(rule, outside, 0)
        return False
    place_P, parts_P = np.arange(pairs.total) - first_R[row_P], pairs.parts_R[row_P]
    broken = (pairs.premise.part_P != place_P % parts_P) | (pairs.hypothesis.part_P != place_P // parts_P)
    hypotheses = max(len(columns.hypotheses), 1)
    wrong = pairs.count_R != pairs.parts_R * hypotheses
    if HYPOTHESIS in columns.split_texts:
        wrong = pairs.count_R % pairs.parts_R != 0
    broken[first_R[wrong]] = True
    faults.note(rule, broken, 0)
    return not broken.any()


def note_text_faults(faults: RowFaults, pairs: UnitPairs, columns: OutputColumns) -> None:
    """Note the pairs with another text than the pairs of the same part, and sentences that are not in order.

    The pairs are in the order of their rows.
    """
    characters = np.array([len(text.decode("utf-8", "replace")) for text in pairs.texts], np.int64)
    for name in (PREMISE, HYPOTHESIS):
        text, anchor_P = pairs.of(name), pairs.anchors(name)
        if name == HYPOTHESIS and columns.with_set:
            codes = {text: code for code, text in enumerate(pairs.texts)}
            code_of_set = np.array([codes.get(each.encode(), -1) for _, each in columns.hypotheses], np.int64)
            faults.note("the hypothesis of the set with its id", code_of_set[text.part_P] != text.code_P, 0)
            continue
        differs = text.code_P != text.code_P[anchor_P]
        if name in columns.split_texts:
            differs |= (text.start_P != text.start_P[anchor_P]) | (text.end_P != text.end_P[anchor_P])
            is_empty = (text.start_P < 0) | (text.end_P <= text.start_P)
            size = text.end_P - text.start_P
            faults.note(f"a {name} from its start to its end", is_empty | (size != characters[text.code_P]), 0)
            step = 1 if name == PREMISE else pairs.parts_R[pairs.row_P]
            before_P = np.maximum(anchor_P - step, 0)
            overlaps = (text.part_P > 0) & (text.start_P < text.end_P[before_P])
            faults.note(f"a {name} after the sentence before", overlaps, 0)
        faults.note(f"the same {name} in all pairs of its part", differs, 0)
