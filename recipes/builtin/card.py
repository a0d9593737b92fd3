"""The model card of the built-in checkpoint: its text is in `card.md`, its figures are those of evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from albert_infer.model.calibration import CALIBRATION, TEMPERATURE
from albert_infer.model.known_files import CONFIG, WEIGHTS

# SNLI's test half, the held-out MultiNLI pairs, the pairs in the package.
SETS: Final = ("test", "mnli", "packaged")
TEMPLATE: Final = Path(__file__).with_name("card.md")


def builtin_card(
    folder: Path,
    evaluations: Mapping[str, Mapping[str, Any]],
    teacher: Mapping[str, Mapping[str, float]],
    made: Mapping[str, object],
) -> str:
    """The card of the checkpoint in `folder`.

    `evaluations` are `evaluation.json` documents: `test` of the SNLI test half, `mnli` of the held-out MultiNLI pairs,
    `packaged` of the pairs in the package. `teacher` has its accuracy on the same three sets. `made` says how the
    checkpoint was made.
    """
    test = evaluations["test"]["against_gold"]
    config = json.loads((folder / CONFIG).read_text())
    figures = {f"{name}_{figure}": text for name in SETS for figure, text in _figures(evaluations[name]).items()}
    return TEMPLATE.read_text().format(
        **config,
        **made,
        **figures,
        **{f"teacher_{name}": percent(teacher[name]) for name in SETS},
        weights=(folder / WEIGHTS).stat().st_size / 2 / 1e6,
        megabytes=sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".md") / 1e6,
        temperature=json.loads((folder / CALIBRATION).read_text())[TEMPERATURE],
        test_f1=percent(test["quality"]["macro_f1"]),
        test_labels="\n".join(_row(label, found) for label, found in test["quality"]["labels"].items()),
        hypothesis_only=percent(test["baselines"]["hypothesis_only"]),
    )


def percent(estimate: Mapping[str, float]) -> str:
    """A share with its interval."""
    value, low, high = (100 * estimate[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def _figures(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    gold = evaluation["against_gold"]
    return {
        "pairs": gold["quality"]["rows"],
        "accuracy": percent(gold["quality"]["accuracy"]),
        "ece": percent(gold["calibration"]["ece"]),
    }


def _row(label: str, found: Mapping[str, Any]) -> str:
    return f"| {label} | {found['gold_rows']:,} | {percent(found['recall'])} | {percent(found['precision'])} |"
