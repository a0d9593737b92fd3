"""The model card of the built-in checkpoint: its text is in `card.md`, its figures are those of evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from albert_infer.model.calibration import CALIBRATION, TEMPERATURE
from albert_infer.model.known_files import CONFIG, WEIGHTS

TEMPLATE = Path(__file__).with_name("card.md")


def builtin_card(folder: Path, evaluations: Mapping[str, Mapping[str, Any]], made: Mapping[str, Any]) -> str:
    """The card of the checkpoint in `folder`.

    `evaluations` are `evaluation.json` documents: `test`, `uncalibrated` and `teacher` of the SNLI test half, `held`
    and `teacher_held` of the held-out tenth, `packaged` of the pairs in the package. `made` says how it was made.
    """
    test = evaluations["test"]["against_gold"]
    config = json.loads((folder / CONFIG).read_text())
    return TEMPLATE.read_text().format(
        **config,
        **made,
        weights=(folder / WEIGHTS).stat().st_size / 2 / 1e6,
        megabytes=sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".md") / 1e6,
        temperature=json.loads((folder / CALIBRATION).read_text())[TEMPERATURE],
        test_pairs=test["quality"]["rows"],
        test_accuracy=percent(test["quality"]["accuracy"]),
        test_f1=percent(test["quality"]["macro_f1"]),
        test_labels="\n".join(_row(label, found) for label, found in test["quality"]["labels"].items()),
        ece=percent(test["calibration"]["ece"]),
        ece_uncalibrated=percent(evaluations["uncalibrated"]["against_gold"]["calibration"]["ece"]),
        hypothesis_only=percent(test["baselines"]["hypothesis_only"]),
        held_accuracy=_accuracy(evaluations["held"]),
        packaged_pairs=evaluations["packaged"]["against_gold"]["quality"]["rows"],
        packaged_accuracy=_accuracy(evaluations["packaged"]),
        teacher_accuracy=_accuracy(evaluations["teacher"]),
        teacher_held=_accuracy(evaluations["teacher_held"]),
    )


def percent(estimate: Mapping[str, float]) -> str:
    """A share with its interval."""
    value, low, high = (100 * estimate[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def _accuracy(evaluation: Mapping[str, Any]) -> str:
    return percent(evaluation["against_gold"]["quality"]["accuracy"])


def _row(label: str, found: Mapping[str, Any]) -> str:
    return f"| {label} | {found['gold_rows']:,} | {percent(found['recall'])} | {percent(found['precision'])} |"
