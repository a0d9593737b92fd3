"""Token ids of texts with different lengths, in flat arrays.

numpy only; knows nothing of tokenizers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from albert_infer.prepare.windows import ranges


@dataclass(frozen=True)
class Ragged:
    """Token ids of R texts. Text r has `ids[starts[r]:starts[r] + lengths[r]]`, and no ids if it `failed`."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    failed: NDArray[np.bool_]

    def take(self, texts: NDArray[np.int32] | slice) -> Ragged:
        """The texts at these indices, in this order."""
        return Ragged(self.ids, self.starts[texts], self.lengths[texts], self.failed[texts])

    def laid_out(self, counts: NDArray[np.int64]) -> NDArray[np.int32]:
        """The first `counts` ids of each text, one after another."""
        return self.ids[ranges(self.starts, counts)]

    def joined(self, offsets: NDArray[np.int32]) -> Ragged:
        """Joined texts: text t has all texts from `offsets[t]` to before `offsets[t + 1]`. It failed if one did."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])[offsets]
        failures = np.concatenate([[0], np.cumsum(self.failed)])[offsets]
        return Ragged(self.laid_out(self.lengths), ends[:-1], np.diff(ends), np.diff(failures) > 0)

    def copy_to(
        self,
        target: NDArray[np.int32],
        begins: NDArray[np.int64],
        lengths: NDArray[np.int64],
        usable: NDArray[np.bool_],
    ) -> None:
        """Write the first `lengths` ids of each usable text into `target`, starting at `begins`."""
        counts = lengths[usable]
        target[ranges(begins[usable], counts)] = self.ids[ranges(self.starts[usable], counts)]
