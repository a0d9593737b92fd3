"""What the checkpoint gets right, and the temperature that it ships with.

The checkpoint is evaluated by the package's own command. Its teacher is no ALBERT, so its answers are counted here.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from albert_infer.config import EvaluateSettings
from albert_infer.learning.evaluation import JSON, evaluate
from albert_infer.model.calibration import CALIBRATION, TEMPERATURE, calibration_json
from albert_infer.preflight.intervals import wilson_interval
from recipes.builtin.card import SETS
from recipes.builtin.gold import GoldPairs, gold_codes, read_pairs
from recipes.builtin.soft_labels import classifier_logits
from recipes.builtin.teacher import encoded_texts, trained_teacher

log = logging.getLogger(__name__)

SHIPPED: Final = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
FITTED_ON: Final = "a tenth of snli_dev's premises and a twentieth of mnli_dev_a's"
PACKAGED: Final = Path(__file__).parents[2] / "albert_infer" / "model" / "builtin" / "pairs.parquet"


@dataclass(frozen=True)
class Measuring:
    """Evaluations below `work`. `pairs` is the folder with SNLI's test half; `output` is the shipped checkpoint."""

    work: Path
    output: Path
    pairs: Path
    gold: GoldPairs

    def ship(self, student: Path) -> None:
        """Writes what a checkpoint needs to the output: the student's files, and the temperature fitted for it."""
        calibrated = student.with_name(f"{student.name}_calibrated")
        shutil.rmtree(calibrated, ignore_errors=True)
        self._evaluated(student, "calibration", fit_temperature=str(calibrated))
        self.output.mkdir(parents=True, exist_ok=True)
        for name in SHIPPED:
            shutil.copyfile(calibrated / name, self.output / name)
        facts = json.loads((calibrated / CALIBRATION).read_text())
        # The file does not name paths of this machine.
        facts["fitted_on"] = {**facts["fitted_on"], "uri": FITTED_ON, "files": []}
        (self.output / CALIBRATION).write_bytes(calibration_json(facts.pop(TEMPERATURE), facts))

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """What `builtin_card` asks for: `evaluation.json` of the shipped checkpoint for each gold set."""
        return {name: self._evaluated(self.output, name) for name in SETS}

    def teacher(self, folder: Path) -> dict[str, Mapping[str, float]]:
        """The teacher's accuracy on the sets that measure the student, with Wilson intervals of 95 %."""
        model = trained_teacher(folder)
        found: dict[str, Mapping[str, float]] = {}
        for name in SETS:
            pairs = read_pairs(self._gold_set(name))
            logits = classifier_logits(model, encoded_texts(folder, pairs), np.arange(len(pairs)), segments=False)
            right = int((logits.argmax(axis=1) == gold_codes(pairs).numpy()).sum())
            low, high = wilson_interval(right, len(pairs))
            found[name] = {"value": right / len(pairs), "low": low, "high": high}
            log.info("the teacher gets %.1f %% of %d pairs of %s right", 100 * right / len(pairs), len(pairs), name)
        return found

    def _evaluated(self, checkpoint: Path, pairs: str, fit_temperature: str | None = None) -> dict[str, Any]:
        """Evaluates in 32 bits; the page and `evaluation.json` stay below `work`."""
        output = self.work / "evaluations" / f"{checkpoint.name}-{pairs}"
        settings = EvaluateSettings(
            pairs=str(self._gold_set(pairs)),
            model=str(checkpoint),
            precision="fp32",
            output=str(output),
            fit_temperature=fit_temperature,
        )
        log.info("%s on %s\n%s", checkpoint.name, pairs, evaluate(settings))
        evaluation: dict[str, Any] = json.loads((output / JSON).read_text())
        return evaluation

    def _gold_set(self, name: str) -> Path:
        """The file of a gold set; those that are parts of a corpus are written below `work`."""
        given = {"test": self.pairs / "snli_test_a.parquet", "packaged": PACKAGED}
        if name in given:
            return given[name]
        parts: dict[str, pa.Table] = {"calibration": self.gold.calibration, "mnli": self.gold.mnli_report}
        path = self.work / f"{name}.parquet"
        if not path.exists():
            pq.write_table(parts[name], path)
        return path
