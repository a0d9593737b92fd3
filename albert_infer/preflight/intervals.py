"""Confidence intervals of a share."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson_interval(right: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided confidence interval of a share, from `right` successes in `of` trials (at least 1).

    The score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal
    of the American Statistical Association 22 (1927). It assumes independent pairs; pairs of one unit
    may be more alike.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center, spread = right + z * z / 2, z * math.sqrt(right * (of - right) / of + z * z / 4)
    # 0 and 1 are exact ends; the formula gives them except for rounding.
    low = 0.0 if right == 0 else (center - spread) / (of + z * z)
    high = 1.0 if right == of else (center + spread) / (of + z * z)
    return low, high
