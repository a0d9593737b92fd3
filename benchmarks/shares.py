"""The shares of a unit's time: what its steps take next to the engine, when each text has many candidates.

The steps are timed by Python's profiler in the thread that calls them. The threads of the engine have none.
"""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from albert_infer.classify.classification import Classifier
from albert_infer.prepare.framing import PairFrame
from albert_infer.prepare.parts import append_parts
from albert_infer.prepare.validation import mark_rejected
from albert_infer.read.decoding import PairReader
from benchmarks.topics import Steps

TOKENIZING: Final = "tokenizing, and counting pairs"


@dataclass(frozen=True)
class Shares:
    """The seconds of each part of a unit of `pairs` pairs, in one precision."""

    precision: str
    texts: int
    candidates: int
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """All of the unit."""
        return sum(self.seconds.values())

    def share(self, part: str) -> float:
        """Of one part."""
        return self.seconds[part] / self.total


def shares_of(precision: str, run: Callable[[], Steps], texts: Sequence[str], candidates: int) -> Shares:
    """Label a unit in the profiler. The caller has warmed up its classifier."""
    profile = cProfile.Profile()
    steps: Steps = profile.runcall(run)
    spent = _cumulative(pstats.Stats(profile))
    reading, checking, tokenizing = map(spent, (PairReader.read, mark_rejected, append_parts))
    framing, logits = map(spent, (PairFrame.framed, Classifier.pair_logits))
    seconds = {
        "reading the file": reading,
        "checking the texts": checking,
        TOKENIZING: tokenizing,
        "other preparation": steps.preparing - reading - checking - tokenizing,
        "framing the pairs": framing,
        "finding equal pairs, choosing micro-batches": logits - steps.computing,
        "the engine": steps.computing,
        "folding, and the table of results": steps.classifying - framing - logits,
        "committing": steps.committing,
    }
    return Shares(precision, len(texts), candidates, seconds)


def _cumulative(stats: Any) -> Callable[[Any], float]:
    """A function that returns the seconds in a function and in what it calls, of all its calls together."""

    def seconds(function: Any) -> float:
        code = function.__code__
        _, _, _, cumulative, _ = stats.stats[(code.co_filename, code.co_firstlineno, code.co_name)]
        return float(cumulative)

    return seconds
