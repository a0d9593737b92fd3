"""Renders an evaluation as one HTML file with pictures and styles. It loads nothing from elsewhere, and has no script.

The template engine escapes all texts of the input. Only the pictures of this package are not escaped.
"""

from __future__ import annotations

import math
from typing import Final

from markupsafe import Markup

from albert_infer.common import pages
from albert_infer.common.pages import UNDEFINED, environment
from albert_infer.learning.evaluation import pictures
from albert_infer.learning.evaluation.calibration import BINS
from albert_infer.learning.evaluation.consistency import SAMPLE_ROWS
from albert_infer.learning.evaluation.document import Evaluation, limits
from albert_infer.learning.evaluation.metrics import DRAWS, Estimate
from albert_infer.learning.evaluation.scored import ScoredEvaluation
from albert_infer.schema import N_TOKENS, TRUNCATED

# The package of the templates.
PACKAGE: Final = "albert_infer.learning.evaluation"
# Figures of fewer rows are printed paler.
FEW_ROWS: Final = 30
# The titles of the built-in slices.
SLICE_NAMES: Final = {N_TOKENS: "length in tokens", TRUNCATED: "truncation"}


def html_page(evaluation: Evaluation | ScoredEvaluation) -> bytes:
    """The page, UTF-8."""
    engine = environment(PACKAGE)
    engine.filters |= {"percent": percent, "points": points, "number": number}
    if isinstance(evaluation, ScoredEvaluation):
        return _scored_page(evaluation)
    gold = evaluation.against_gold
    drawn = {}
    if gold:
        drawn["reliability"] = pictures.reliability(gold.calibration, least=1 / len(evaluation.rows.labels))
        drawn["kept_and_right"] = pictures.kept_and_right(gold.calibration.thresholds)
    return (
        engine.get_template("evaluation.html.j2")
        .render(
            evaluation=evaluation,
            subject=evaluation.source["run" if "run" in evaluation.source else "pairs"],
            gold=gold,
            # Drawn by this package, from numbers alone.
            pictures={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704
            labels=list(evaluation.rows.labels),
            slice_names=SLICE_NAMES,
            limits=limits(),
            few_rows=FEW_ROWS,
            bins=BINS,
            draws=DRAWS,
        )
        .encode()
    )


def _scored_page(evaluation: ScoredEvaluation) -> bytes:
    drawn = {}
    if evaluation.ranking:
        drawn["reliability"] = pictures.reliability(evaluation.ranking.calibration, least=0)
        drawn["kept_and_right"] = pictures.kept_and_right(evaluation.ranking.calibration.thresholds)
    if measures := evaluation.consistency:
        chosen = 1 - measures.inconsistent_recall.value, measures.consistent_recall.value
        drawn["curve"] = pictures.receiver_operating_characteristic(measures.curve, chosen)
    return pages.html_page(
        PACKAGE,
        "scored.html.j2",
        evaluation=evaluation,
        subject=evaluation.source["run"],
        ranking=evaluation.ranking,
        consistency=evaluation.consistency,
        pictures={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704  (drawn by this package)
        limits={"consistency_rows": SAMPLE_ROWS},
        draws=DRAWS,
    )


def percent(share: float | Estimate, digits: int = 1) -> str:
    """A share in percent; `n/a` if it is undefined."""
    value = share.value if isinstance(share, Estimate) else share
    return f"{value:.{digits}%}" if math.isfinite(value) else UNDEFINED


def points(interval: Estimate) -> str:
    """The ends of an interval, in percent."""
    if not math.isfinite(interval.low):
        return ""
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def number(value: float, digits: int = 3) -> str:
    """A number; `n/a` if it is undefined."""
    return f"{value:.{digits}f}" if math.isfinite(value) else UNDEFINED
