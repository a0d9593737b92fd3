"""Whether enough labels are the gold ones: a gold set, labelled by the engine and the settings of the run before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from albert_infer.classify.classification import Classifier
from albert_infer.common.printable import how_many
from albert_infer.errors import InputError, LimitError
from albert_infer.preflight.gold import GOLD, NO_GOLD, GoldSet, read_slice
from albert_infer.preflight.intervals import wilson_interval
from albert_infer.prepare.tokenization import PairTokenizer, append_tokens
from albert_infer.schema import LABEL, NEEDS_REVIEW, REJECTION, NliLabel


@dataclass(frozen=True)
class Accuracy:
    """How many of `pairs` have their gold label, and the 95 % interval of that share."""

    pairs: int
    right: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, right: NDArray[np.bool_]) -> Accuracy | None:
        """Of pairs that are right or not; None of none."""
        pairs, count = len(right), int(right.sum())
        return cls(pairs, count, count / pairs, *wilson_interval(count, pairs)) if pairs else None


@dataclass(frozen=True)
class Gold:
    """What was found on the pairs of a gold set that have a gold label; `skipped` rows have none.

    A pair that the run would reject is wrong, and one of the `rejected`. With `--review-below` the labelled pairs are
    told apart by it; each part is None where it has no pair.
    """

    uri: str
    skipped: int
    rejected: int
    accuracy: Accuracy
    needing_review: Accuracy | None
    needing_none: Accuracy | None

    def to_text(self) -> str:
        """For a person."""
        found = self.accuracy
        rejected = f", {self.rejected:,} rejected" if self.rejected else ""
        interval = f"{found.low:.1%} to {found.high:.1%} at 95% confidence"
        text = f"{found.share:.1%} of {how_many(found.pairs, 'pair')} get their gold label ({interval}){rejected}"
        if self.needing_review is not None:
            text += f"; {self.needing_review.share:.1%} of the {self.needing_review.pairs:,} marked needs_review"
        return text


def measured(classifier: Classifier, tokenizer: PairTokenizer, gold: GoldSet) -> Gold:
    """Label the gold set, one slice of it in memory at a time.

    Raises InputError for one that cannot be read whole, holds a gold label that is none, or has no gold label at all.
    """
    labelled = pa.concat_tables(_labelled(classifier, tokenizer, read_slice(gold, piece)) for piece in gold.slices)
    names = np.asarray([*NliLabel], dtype=object)[labelled[GOLD].to_numpy()]
    right, rejected = labelled[LABEL].to_numpy() == names, labelled[REJECTION].is_valid().to_numpy()
    accuracy = Accuracy.of(right)
    if accuracy is None:
        remedy = "give pairs with gold labels, or name their column with --gold-column"
        raise InputError(f"--gold {gold.uri}", f"none of its {how_many(gold.rows, 'row')} has a gold label", remedy)
    parts: dict[bool, Accuracy | None] = {}
    if NEEDS_REVIEW in labelled.column_names:
        review = labelled[NEEDS_REVIEW].to_pylist()  # null of a rejected pair, which is in neither part
        parts = {which: Accuracy.of(right[[one is which for one in review]]) for which in (True, False)}
    return Gold(
        uri=gold.uri,
        skipped=gold.rows - labelled.num_rows,
        rejected=int(rejected.sum()),
        accuracy=accuracy,
        needing_review=parts.get(True),
        needing_none=parts.get(False),
    )


def _labelled(classifier: Classifier, tokenizer: PairTokenizer, rows: pa.Table) -> pa.Table:
    """What is counted of the rows that have a gold label."""
    rows = rows.filter(pc.not_equal(rows[GOLD], NO_GOLD))
    labelled = classifier.classified(append_tokens(rows, tokenizer))
    return labelled.select([name for name in labelled.column_names if name in (GOLD, LABEL, REJECTION, NEEDS_REVIEW)])


def refuse_inaccuracy(found: Gold | None, min_accuracy: float | None) -> None:
    """Raises LimitError if fewer than `min_accuracy` of the labels are the gold ones."""
    if found is not None and min_accuracy is not None and found.accuracy.share < min_accuracy:
        asked = f"--min-accuracy {min_accuracy} on --gold {found.uri}"
        raise LimitError(asked, found.to_text(), "use a better checkpoint, or lower --min-accuracy")
