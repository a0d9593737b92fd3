"""The labelled pairs, and which of them are kept out of training.

A hash of the premise decides, so that all pairs of a premise are on the same side. SNLI's held-out part and one part
of MultiNLI's fit the head and the temperature. The other part of MultiNLI's is only for the report.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from albert_infer.schema import HYPOTHESIS, PREMISE, NliLabel

GOLD: Final = "gold_label"
COLUMNS: Final = (PREMISE, HYPOTHESIS, GOLD)
# Percent of the premises of each corpus.
SNLI_CALIBRATION_PERCENT: Final = 10
MNLI_REPORT_PERCENT: Final = 10
MNLI_CALIBRATION_PERCENT: Final = 5


@dataclass(frozen=True)
class GoldPairs:
    """The labelled pairs by use. No premise of a training table is in another table of its corpus."""

    snli_train: pa.Table
    mnli_train: pa.Table
    calibration: pa.Table
    mnli_report: pa.Table

    @property
    def train(self) -> pa.Table:
        """The training pairs of both corpora."""
        return pa.concat_tables([self.snli_train, self.mnli_train])


def gold_pairs(folder: Path) -> GoldPairs:
    """Reads `snli_dev.parquet` and `mnli_dev_a.parquet` of `folder`, and splits them by premise."""
    snli, mnli = (read_pairs(folder / f"{name}.parquet") for name in ("snli_dev", "mnli_dev_a"))
    snli_percent, mnli_percent = (pa.array(map(premise_percent, pairs[PREMISE].to_pylist())) for pairs in (snli, mnli))
    snli_is_held = pc.less(snli_percent, SNLI_CALIBRATION_PERCENT)
    mnli_is_report = pc.less(mnli_percent, MNLI_REPORT_PERCENT)
    mnli_is_held = pc.less(mnli_percent, MNLI_REPORT_PERCENT + MNLI_CALIBRATION_PERCENT)
    mnli_calibration = mnli.filter(pc.and_not(mnli_is_held, mnli_is_report))
    return GoldPairs(
        snli_train=snli.filter(pc.invert(snli_is_held)),
        mnli_train=mnli.filter(pc.invert(mnli_is_held)),
        calibration=pa.concat_tables([snli.filter(snli_is_held), mnli_calibration]),
        mnli_report=mnli.filter(mnli_is_report),
    )


def premise_percent(premise: str) -> int:
    """A number from 0 to 99 that depends only on the premise."""
    return int.from_bytes(hashlib.sha256(premise.encode()).digest()[:8]) % 100


def read_pairs(path: Path) -> pa.Table:
    """The texts and gold labels of the file."""
    return pq.read_table(path, columns=list(COLUMNS))


def gold_codes(pairs: pa.Table) -> torch.Tensor:
    """The gold labels as positions in `NliLabel`."""
    names = [str(label) for label in NliLabel]
    return torch.tensor([names.index(name) for name in pairs[GOLD].to_pylist()])
