"""Labels a gold set with the engine and the settings of the run, and refuses too low an accuracy."""

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
from albert_infer.schema import LABEL, NEEDS_REVIEW, REJECTION


@dataclass(frozen=True)
class Accuracy:
    """The number of `pairs` with their gold label, its share, and the 95 % interval of the share."""

    pairs: int
    right: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, right: NDArray[np.bool_]) -> Accuracy | None:
        """The accuracy of pairs that are right or wrong; None without pairs."""
        pairs, count = len(right), int(right.sum())
        return cls(pairs, count, count / pairs, *wilson_interval(count, pairs)) if pairs else None


@dataclass(frozen=True)
class Gold:
    """The accuracy on the pairs of a gold set. `skipped` rows have no gold label.

    A pair that the run would reject counts as wrong, and in `rejected`. `--review-below` splits the labelled pairs into
    two parts; a part without pairs is None.
    """

    uri: str
    skipped: int
    rejected: int
    accuracy: Accuracy
    needing_review: Accuracy | None
    needing_none: Accuracy | None

    def to_text(self) -> str:
        """The result as text."""
        accuracy = self.accuracy
        rejected = f", {self.rejected:,} rejected" if self.rejected else ""
        interval = f"{accuracy.low:.1%} to {accuracy.high:.1%} at 95% confidence"
        text = f"{accuracy.share:.1%} of {how_many(accuracy.pairs, 'pair')} get their gold label ({interval}){rejected}"
        if self.needing_review is not None:
            text += f"; {self.needing_review.share:.1%} of the {self.needing_review.pairs:,} marked needs_review"
        return text


def measure_accuracy(classifier: Classifier, tokenizer: PairTokenizer, gold: GoldSet) -> Gold:
    """Label the gold set, one slice at a time.

    Raises InputError for a gold set that cannot be read completely, has an invalid gold label, or has no gold label.
    """
    labelled = pa.concat_tables(_labelled(classifier, tokenizer, read_slice(gold, piece)) for piece in gold.slices)
    names = np.asarray(gold.labels, dtype=object)[labelled[GOLD].to_numpy()]
    right, rejected = labelled[LABEL].to_numpy() == names, labelled[REJECTION].is_valid().to_numpy()
    accuracy = Accuracy.of(right)
    if accuracy is None:
        remedy = "give pairs with gold labels, or name their column with --gold-column"
        raise InputError(f"--gold {gold.uri}", f"none of its {how_many(gold.rows, 'row')} has a gold label", remedy)
    parts: dict[bool, Accuracy | None] = {}
    if NEEDS_REVIEW in labelled.column_names:
        review = labelled[NEEDS_REVIEW].to_pylist()  # null for a rejected pair, which is in neither part
        parts = {needs: Accuracy.of(right[[flag is needs for flag in review]]) for needs in (True, False)}
    return Gold(
        uri=gold.uri,
        skipped=gold.rows - labelled.num_rows,
        rejected=int(rejected.sum()),
        accuracy=accuracy,
        needing_review=parts.get(True),
        needing_none=parts.get(False),
    )


def _labelled(classifier: Classifier, tokenizer: PairTokenizer, rows: pa.Table) -> pa.Table:
    """The rows with a gold label, labelled; only the columns that are counted."""
    rows = rows.filter(pc.not_equal(rows[GOLD], NO_GOLD))
    labelled = classifier.classified(append_tokens(rows, tokenizer))
    return labelled.select([name for name in labelled.column_names if name in (GOLD, LABEL, REJECTION, NEEDS_REVIEW)])


def refuse_inaccuracy(gold: Gold | None, min_accuracy: float | None) -> None:
    """Raises LimitError if fewer than `min_accuracy` of the labels are the gold ones."""
    if gold is not None and min_accuracy is not None and gold.accuracy.share < min_accuracy:
        asked = f"--min-accuracy {min_accuracy} on --gold {gold.uri}"
        raise LimitError(asked, gold.to_text(), "use a better checkpoint, or lower --min-accuracy")
