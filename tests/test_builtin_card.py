"""The card of the built-in checkpoint tells the figures of its evaluations, each in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training_models import save_model, tiny_student

from albert_infer.model.calibration import CALIBRATION, calibration_json
from albert_infer.schema import NliLabel
from recipes.builtin.card import builtin_card

TIMES = "\N{MULTIPLICATION SIGN}"
MADE = {
    "teacher_pairs": 13_842,
    "student_pairs": 54_842,
    "recombined_pairs": 41_000,
    "teacher_epochs": 3,
    "teacher_classifier_rate": 10.0,
    "student_classifier_rate": 3.0,
    "gold_weight": 0.25,
    "kl_weight": 0.75,
    "student_epochs": 2,
    "precision": "bf16 autocast",
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


def test_every_figure_stands_where_it_belongs(tmp_path: Path) -> None:
    save_model(tiny_student(), tmp_path)
    (tmp_path / CALIBRATION).write_bytes(calibration_json(1.25, {}))
    evaluations = {
        "test": evaluation(0.785, ece=0.012),
        "uncalibrated": evaluation(0.785, ece=0.077),
        "teacher": evaluation(0.801),
        "held": evaluation(0.794),
        "teacher_held": evaluation(0.795),
        "packaged": evaluation(0.48),
    }
    card = " ".join(builtin_card(tmp_path, evaluations, MADE).split())
    assert "| **all** | **4,816** | **78.5 % (77.5 to 79.5)** |" in card
    assert "| contradiction | 102 | 20.0 % (19.0 to 21.0) | 40.0 % (39.0 to 41.0) |" in card
    assert "**1.2 % (0.2 to 2.2)** on these pairs, with the temperature; 7.7 % (6.7 to 8.7) without" in card
    assert (
        "It gets 79.5 % (78.5 to 80.5) of the held-out tenth right, and 80.1 % (79.1 to 81.1) of the SNLI test" in card
    )
    assert "it gets 48.0 % (47.0 to 49.0) right" in card
    assert "hypothesis alone gets 63.0 % (62.0 to 64.0)" in card
    assert "temperature | 1.25," in card
    assert "embedding size 8, hidden size 16, 4 layers in 2 groups" in card
    assert "41,000 pairs, labelled by the teacher" in card
    assert "learning rate 1e-4, its new classifier's 10 times that" in card
    assert f"0.75 {TIMES} KL divergence from the teacher's answers + 0.25 {TIMES} cross-entropy with the labels" in card
    assert "learning rate 3e-4, its classifier's 3 times that" in card
