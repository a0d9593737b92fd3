"""Checks the label order of a checkpoint on easy pairs, whose labels are certain, under all orders.

A wrong order labels a whole night without an error, and gets one pair in twenty right.
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
from albert_infer.schema import HYPOTHESIS, LABEL, LABEL_SETS, PREMISE, TWO_LABELS, LabelSet, folded

GOLD_LABEL: Final = "gold_label"
# There are 30 pairs, ten for each label. Right pairs: built-in checkpoint (84 % of SNLI) under its own order 28, under
# other orders at most 11; a guessing checkpoint 10 under any order. An order that exchanges two labels still gets the
# third label right, so the limits leave little room for errors. No pair depends on two opposites (open and closed),
# where small models are weak.
FITS: Final = 0.8
FAILS: Final = 0.4
# Below this share the checkpoint is too weak on English pairs for a check of its order.
CONFIRMS: Final = 0.6
# The same of two labels: a checkpoint that gives every pair `not_entailment` gets two thirds right.
CONFIRMS_TWO: Final = 0.8


@dataclass(frozen=True)
class Probe:
    """The shares of `pairs` that are right under the declared order, and under the best order."""

    pairs: int
    right: float
    best_order: LabelSet
    best_right: float

    @property
    def confirms_order(self) -> bool:
        """Whether the easy pairs confirm the declared order."""
        return self.right >= (CONFIRMS_TWO if len(self.best_order) == len(TWO_LABELS) else CONFIRMS)

    def to_text(self) -> str:
        """The result as text; a warning if the order is not confirmed."""
        if self.confirms_order:
            return f"{_counted(self.right, self.pairs)} easy test pairs get the right label: the label order fits"
        return f"warning: {self.doubt()}; check some labels before you use them"

    def doubt(self) -> str:
        """Why the declared order is not confirmed."""
        best = f"{_counted(self.best_right, self.pairs)} in the best order {','.join(self.best_order)}"
        return f"only {_counted(self.right, self.pairs)} easy test pairs get the right label, {best}"


def probe_pairs() -> pa.Table:
    """The easy pairs of the package, with their labels."""
    file = resources.files("albert_infer.model") / "builtin" / "probe.parquet"
    return pq.read_table(pa.BufferReader(file.read_bytes()), columns=[PREMISE, HYPOTHESIS, GOLD_LABEL])


def run_probe(checkpoint: Checkpoint, classifier: Classifier) -> Probe:
    """Label the easy pairs of the package. The run's rule for long pairs does not apply."""
    pairs = probe_pairs()
    tokenizer = checkpoint.tokenizer(max_length=None, long_premise="longest_first")
    prepared = tokenization.append_tokens(validation.mark_rejected(pairs), tokenizer)
    return judged(checkpoint.label_order, classifier.classified(prepared))


def judged(declared: LabelSet, labelled: pa.Table) -> Probe:
    """The share of right labels under each order, from labels under the `declared` order. Rejected pairs are wrong."""
    labels = LABEL_SETS[len(declared)]
    pairs = zip(labelled[LABEL].to_pylist(), labelled[GOLD_LABEL].to_pylist(), strict=True)
    outputs = [(declared.index(label), folded(gold, labels)) for label, gold in pairs if label is not None]
    # The declared order comes first, so it wins a tie.
    orders = sorted(permutations(labels), key=lambda order: order != declared)
    right = {order: sum(order[output] == gold for output, gold in outputs) / labelled.num_rows for order in orders}
    best = max(orders, key=lambda order: right[order])
    return Probe(labelled.num_rows, right[declared], best, right[best])


def refuse_wrong_order(
    checkpoint: Checkpoint, probe: Probe, *, required: bool = False, remedy: str = "give --label-order {}"
) -> None:
    """Raises ModelError if another order fits; with `required` also if the declared order is not confirmed.

    `remedy` is the advice for the first case, with `{}` for the order that fits.
    """
    if probe.best_right >= FITS and probe.right <= FAILS:
        asked = f"model {checkpoint.source} with label order {','.join(checkpoint.label_order)}"
        best = f"{_counted(probe.best_right, probe.pairs)} in the order {','.join(probe.best_order)}"
        problem = f"{_counted(probe.right, probe.pairs)} easy test pairs get the right label, but {best}"
        raise ModelError(asked, problem, remedy.format(",".join(probe.best_order)))
    if required and not probe.confirms_order:
        others = "give --label-order, or another checkpoint, or leave --require-probe out"
        raise ModelError(f"--require-probe of model {checkpoint.source}", probe.doubt(), others)


def _counted(share: float, pairs: int) -> str:
    return f"{round(share * pairs)} of {pairs}"
