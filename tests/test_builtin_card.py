"""The card of the built-in checkpoint has the figures of its evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training_models import save_model, tiny_student

from albert_infer.model.calibration import CALIBRATION, calibration_json
from albert_infer.schema import NliLabel
from recipes.builtin.card import builtin_card

MADE = {
    "gold_pairs": 13_108,
    "unlabelled_pairs": 341_000,
    "student_epochs": 5,
    "student_rate": 3e-4,
    "student_classifier": 3.0,
    "student_batch": 64,
    "gold_weight": 0.3,
    "pooler_divisor": 16.0,
    "softening": 2.0,
    "source_neurons": 1536,
    "longer_pairs": 60_000,
    "longer_rate": 1e-4,
    "matched_pairs": 100_000,
    "matched_rate": 5e-4,
    "seed": 7,
}


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def evaluation(accuracy: float, ece: float = 0.5) -> dict[str, Any]:
    labels = {
        str(label): {"gold_rows": 100 + code, "recall": estimate(0.1 * code), "precision": estimate(0.2 * code)}
        for code, label in enumerate(NliLabel)
    }
    quality = {"rows": 4816, "accuracy": estimate(accuracy), "macro_f1": estimate(0.76), "labels": labels}
    calibration = {"ece": estimate(ece)}
    gold = {"quality": quality, "calibration": calibration, "baselines": {"hypothesis_only": estimate(0.63)}}
    return {"against_gold": gold}


def test_every_figure_is_where_it_belongs(tmp_path: Path) -> None:
    save_model(tiny_student(), tmp_path)
    (tmp_path / CALIBRATION).write_bytes(calibration_json(1.25, {}))
    evaluations = {
        "test": evaluation(0.835, ece=0.012),
        "mnli": evaluation(0.724, ece=0.021),
        "packaged": evaluation(0.67, ece=0.08),
    }
    teacher = {"test": estimate(0.862), "mnli": estimate(0.791), "packaged": estimate(0.731)}
    card = " ".join(builtin_card(tmp_path, evaluations, teacher, MADE).split())
    assert "| **all** | **4,816** | **83.5 % (82.5 to 84.5)** |" in card
    assert "| contradiction | 102 | 20.0 % (19.0 to 21.0) | 40.0 % (39.0 to 41.0) |" in card
    for row in (
        "| SNLI | **83.5 % (82.5 to 84.5)** | 86.2 % (85.2 to 87.2) | 1.2 % (0.2 to 2.2) |",
        "| MultiNLI | **72.4 % (71.4 to 73.4)** | 79.1 % (78.1 to 80.1) | 2.1 % (1.1 to 3.1) |",
        "| in the package | **67.0 % (66.0 to 68.0)** | 73.1 % (72.1 to 74.1) | 8.0 % (7.0 to 9.0) |",
    ):
        assert row in card
    assert "hypothesis alone gets 63.0 % (62.0 to 64.0)" in card
    assert "temperature | 1.25," in card
    assert "embedding size 8, hidden size 16, intermediate size 16, 4 layers" in card
    assert "fine-tuned on 13,108 labelled pairs" in card
    assert "341,000 pairs without a label" in card
    assert "both at temperature 2; on the labelled pairs 0.3 of the loss" in card
    assert "5 epochs, learning rate 0.0003, the classifier's 3 times that, batches of 64 pairs" in card
