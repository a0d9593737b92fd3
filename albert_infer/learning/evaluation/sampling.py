"""A bounded number of rows out of any number: those with the least keys.

With hashes as keys it is a uniform sample that is the same each time; with probabilities, the most telling rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.learning.evaluation.rows import PLACE

_KEY: Final = "_key"


class LeastRows:
    """Of all rows that are added, the `limit` with the least keys; holds at most twice as many, and one batch."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: pa.Table | None = None
        self._worst: Any = None

    def wants(self, keys: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows of these keys (R) may still be among the least."""
        every = np.ones(len(keys), np.bool_)
        return every if self._worst is None else keys <= self._worst

    def add(self, rows: pa.Table, keys: NDArray[Any]) -> None:
        """Look at some rows, each with its key (R). Tables must have the same columns each time."""
        rows = rows.append_column(_KEY, pa.array(keys))
        self._kept = rows if self._kept is None else pa.concat_tables([self._kept, rows])
        if self._kept.num_rows > 2 * self._limit:
            self._kept = self._least()
            self._worst = self._kept[_KEY].to_numpy().max()

    def rows(self) -> pa.Table | None:
        """What was kept, least key first; None if nothing was added."""
        if self._kept is None:
            return None
        return self._least().sort_by([(_KEY, "ascending"), (PLACE, "ascending")]).drop_columns([_KEY])

    def _least(self) -> pa.Table:
        """Copied, so that a slice does not keep the whole of a batch in memory."""
        if self._kept is None or self._kept.num_rows <= self._limit:
            return self._kept
        # By place where keys are equal, so that the batches do not decide.
        order = np.lexsort((self._kept[PLACE].to_numpy(), self._kept[_KEY].to_numpy()))
        return self._kept.take(pa.array(order[: self._limit])).combine_chunks()


def hashes(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A well-mixed number for each (splitmix64): the same each time, and no two alike."""
    mixed = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
