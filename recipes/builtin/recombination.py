"""New pairs from the texts of old ones, for a teacher to label: what people wrote of one scene, against each other.

Such pairs are about the same thing and differ in detail, so their labels are not obvious; pairs of chance texts would
nearly all be one label. A student sees its teacher's answers on many more pairs than anybody has labelled.
"""

from __future__ import annotations

from itertools import permutations
from typing import Final

import pyarrow as pa

from albert_infer.schema import HYPOTHESIS, PREMISE

# Of one premise; the few with more would be most of the new pairs.
MAX_HYPOTHESES: Final = 4


def recombined(pairs: pa.Table) -> pa.Table:
    """Each ordered pair of hypotheses of one premise, and each hypothesis with its premise as the hypothesis.

    No pair of `pairs` and no pair twice; in the order of the premises. Columns premise and hypothesis.
    """
    grouped: dict[str, list[str]] = {}
    for premise, hypothesis in _texts(pairs):
        hypotheses = grouped.setdefault(premise, [])
        if hypothesis not in hypotheses and len(hypotheses) < MAX_HYPOTHESES:
            hypotheses.append(hypothesis)
    made: dict[tuple[str, str], None] = {}
    for premise, hypotheses in grouped.items():
        made.update(dict.fromkeys(permutations(hypotheses, 2)))
        made.update(dict.fromkeys((hypothesis, premise) for hypothesis in hypotheses))
    for pair in _texts(pairs):
        made.pop(pair, None)
    new = [pair for pair in made if pair[0] != pair[1]]
    columns = ((PREMISE, [pair[0] for pair in new]), (HYPOTHESIS, [pair[1] for pair in new]))
    return pa.table({name: pa.array(texts, pa.string()) for name, texts in columns})


def _texts(pairs: pa.Table) -> zip[tuple[str, str]]:
    return zip(pairs[PREMISE].to_pylist(), pairs[HYPOTHESIS].to_pylist(), strict=True)
