"""Keeps a bounded number of rows: those with the smallest keys.

Hashes as keys give a uniform, reproducible sample. Negated probabilities as keys give the most confident rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albert_infer.learning.evaluation.rows import POSITION

_KEY: Final = "_key"


class LeastRows:
    """The `limit` added rows with the smallest keys. Holds at most twice that number of rows, and one batch."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: pa.Table | None = None
        self._worst: Any = None

    def wants(self, keys: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the row of each key (R) may still be among the smallest."""
        every = np.ones(len(keys), np.bool_)
        return every if self._worst is None else keys <= self._worst

    def add(self, rows: pa.Table, keys: NDArray[Any]) -> None:
        """Add rows with their keys (R). All tables must have the same columns."""
        rows = rows.append_column(_KEY, pa.array(keys))
        self._kept = rows if self._kept is None else pa.concat_tables([self._kept, rows])
        if self._kept.num_rows > 2 * self._limit:
            self._kept = self._least()
            self._worst = self._kept[_KEY].to_numpy().max()

    def rows(self) -> pa.Table | None:
        """The rows, smallest key first; None if no row was added."""
        if self._kept is None:
            return None
        return self._least().sort_by([(_KEY, "ascending"), (POSITION, "ascending")]).drop_columns([_KEY])

    def _least(self) -> pa.Table:
        """The rows to keep, copied so that a slice does not keep its whole batch in memory."""
        if self._kept is None or self._kept.num_rows <= self._limit:
            return self._kept
        # Rows with equal keys are ordered by position, so that the batches do not decide.
        order = np.lexsort((self._kept[POSITION].to_numpy(), self._kept[_KEY].to_numpy()))
        return self._kept.take(pa.array(order[: self._limit])).combine_chunks()


def hashes(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A hash of each number (splitmix64): reproducible, and different for different numbers."""
    mixed = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
