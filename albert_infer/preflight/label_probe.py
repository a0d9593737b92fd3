"""Whether a checkpoint's outputs mean what its label order says: pairs whose label nobody doubts, under all six orders.

A wrong order labels a whole night without any error, and is right on one pair in twenty.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from itertools import permutations
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.classify.classification import Classifier
from albert_infer.errors import ModelError
from albert_infer.model.checkpoint import Checkpoint
from albert_infer.prepare import tokenization, validation
from albert_infer.schema import HYPOTHESIS, LABEL, PREMISE, NliLabel

GOLD_LABEL: Final = "gold_label"
# Of 30 pairs, ten a label, the built-in checkpoint, which is right on 80 in 100 SNLI pairs, has 29 right under its own
# order and at most 11 under another; one that guesses has ten under any. Of an order that exchanges two labels a good
# checkpoint still has the third right, so few of the others may be wrong: no pair turns on two opposites (open and
# closed), where small models are weak whatever their order.
FITS: Final = 0.8
FAILS: Final = 0.4
# Below it a checkpoint says too little of English pairs for its order to be judged by them.
TELLS: Final = 0.6


@dataclass(frozen=True)
class Probe:
    """The share of `pairs` that is right under the declared order, and under the order that has most of them right."""

    pairs: int
    right: float
    best_order: tuple[NliLabel, ...]
    best_right: float

    @property
    def tells(self) -> bool:
        """Whether the declared order is seen to be right."""
        return self.right >= TELLS

    def to_text(self) -> str:
        """For a person; where the order is in doubt, with a warning."""
        if self.tells:
            return f"{_counted(self.right, self.pairs)} easy test pairs get the right label: the label order fits"
        return f"warning: {self.doubt()}; look at some labels before you use them"

    def doubt(self) -> str:
        """Why the declared order is not seen to be right."""
        best = f"{_counted(self.best_right, self.pairs)} in the best order {','.join(self.best_order)}"
        return f"only {_counted(self.right, self.pairs)} easy test pairs get the right label, {best}"


def probe_pairs() -> pa.Table:
    """The pairs that ship for this, with their labels."""
    file = resources.files("albert_infer.model") / "builtin" / "probe.parquet"
    return pq.read_table(pa.BufferReader(file.read_bytes()), columns=[PREMISE, HYPOTHESIS, GOLD_LABEL])


def measured(checkpoint: Checkpoint, classifier: Classifier) -> Probe:
    """Label the pairs that ship for this, whatever the run's own rule for long ones."""
    pairs = probe_pairs()
    tokenizer = checkpoint.tokenizer(max_length=None, long_premise="longest_first")
    prepared = tokenization.append_tokens(validation.mark_rejected(pairs), tokenizer)
    return judged(checkpoint.label_order, classifier.classified(prepared))


def judged(declared: tuple[NliLabel, ...], labelled: pa.Table) -> Probe:
    """What each order would have right of pairs that were labelled under the `declared` one; none of one rejected."""
    labels = zip(labelled[LABEL].to_pylist(), labelled[GOLD_LABEL].to_pylist(), strict=True)
    outputs = [(declared.index(NliLabel(label)), gold) for label, gold in labels if label is not None]
    # The declared order first: of two that are right as often it is the better.
    orders = sorted(permutations(NliLabel), key=lambda order: order != declared)
    right = {order: sum(order[output] == gold for output, gold in outputs) / labelled.num_rows for order in orders}
    best = max(orders, key=lambda order: right[order])
    return Probe(labelled.num_rows, right[declared], best, right[best])


def refuse_wrong_order(
    checkpoint: Checkpoint, found: Probe, *, required: bool = False, remedy: str = "give --label-order {}"
) -> None:
    """Raises ModelError where another order fits; with `required` also where none is seen to be right.

    `remedy` is what to do about the first, with `{}` for the order that fits.
    """
    if found.best_right >= FITS and found.right <= FAILS:
        asked = f"model {checkpoint.source} with label order {','.join(checkpoint.label_order)}"
        best = f"{_counted(found.best_right, found.pairs)} in the order {','.join(found.best_order)}"
        told = f"{_counted(found.right, found.pairs)} easy test pairs get the right label, but {best}"
        raise ModelError(asked, told, remedy.format(",".join(found.best_order)))
    if required and not found.tells:
        others = "give --label-order, or another checkpoint, or leave --require-probe out"
        raise ModelError(f"--require-probe of model {checkpoint.source}", found.doubt(), others)


def _counted(share: float, pairs: int) -> str:
    return f"{round(share * pairs)} of {pairs}"
