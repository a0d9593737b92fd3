"""Runs whose rows become several pairs, for tests: labelled without Ray, with any checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from inline_job import OneThread
from job_runs import write_pairs

from albert_infer.config import LabelSettings
from albert_infer.job.run import label_pairs

TOPICS = ("sport", "music", "food")
# A topic each; the texts of rows 3 and 5 are no texts.
TEXTS = (
    "The team won the match in the last minute.",
    "The singer plays the guitar on stage.",
    "A cook fries fish with onions.",
    None,
    "Two players kick a ball.",
    " ",
    "The band plays a loud song.",
)
GOLD = ("sport", "music", "food", "food", "sport", "music", "food")
DOCUMENTS = (
    "A man plays the guitar on a stage. A crowd listens to him.",
    "Two dogs run across a field. A boy throws a ball.",
    "A woman cooks dinner. Her son reads a book.",
    "The shop is closed on Sunday. It opens on Monday.",
)
SUMMARIES = (
    "A man makes music.",
    "The dogs are asleep. Nobody is outside.",
    "A woman prepares food. A boy reads.",
    "The shop is open every day.",
)


def texts() -> pa.Table:
    """Texts with ids and gold topics, and no hypotheses."""
    ids = [f"t{row}" for row in range(len(TEXTS))]
    return pa.table({"pair_id": ids, "premise": pa.array(TEXTS, pa.string()), "gold_label": GOLD})


def summaries(gold: Any = None) -> pa.Table:
    """Documents with summaries, and whether each summary is consistent."""
    ids = [f"d{row}" for row in range(len(DOCUMENTS))]
    columns = {"pair_id": ids, "premise": DOCUMENTS, "hypothesis": SUMMARIES}
    return pa.table({**columns, "gold_label": [True, False, True, False] if gold is None else gold})


def labelled(folder: Path, rows: pa.Table, **settings: Any) -> Path:
    """The output of a run of these rows, without Ray, which carried the gold labels."""
    write_pairs(folder / "in" / "a.parquet", rows)
    asked: dict[str, Any] = {"precision": "fp32", "workers": "1", "max_rejected_share": 1, "carry": ("gold_label",)}
    asked |= {"input": str(folder / "in"), "output": str(folder / "out"), **settings}
    label_pairs(LabelSettings(**asked), executor=OneThread())
    return folder / "out"
