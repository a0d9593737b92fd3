"""How far a share that was counted may be from the one that it was drawn from."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson_interval(right: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of the share that `right` of `of` (at least 1) leaves likely.

    The score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal
    of the American Statistical Association 22 (1927). It takes the pairs as drawn one by one; those of a unit may be
    more alike than that.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center, spread = right + z * z / 2, z * math.sqrt(right * (of - right) / of + z * z / 4)
    # None and all are its ends, as the formula has it but for rounding.
    low = 0.0 if right == 0 else (center - spread) / (of + z * z)
    high = 1.0 if right == of else (center + spread) / (of + z * z)
    return low, high
