"""Label the pairs that ship in the package with the checkpoint that ships in the package; show what comes back.

python jobs/demo.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from albert_infer.command import run_command
from albert_infer.config import LabelSettings
from albert_infer.run import label_pairs

ROOT = Path(__file__).resolve().parent.parent
ROWS_SHOWN = 9
WIDTH = 140
TEXTS = ("premise", "hypothesis")
FACTS = ("gold_label", "label")


def labelled(settings: LabelSettings) -> str:
    """Label the pairs and print the first of them; the report as text."""
    report = label_pairs(settings).to_text(settings.output)
    rows = pq.read_table(settings.output).to_pylist()
    shown = Table(box=SIMPLE, title=f"the first {ROWS_SHOWN} of {len(rows)} labelled pairs")
    for name in TEXTS:
        shown.add_column(name, no_wrap=True, max_width=42)
    for name in (*FACTS, "probability"):
        shown.add_column(name, no_wrap=True)
    for row in rows[:ROWS_SHOWN]:
        shown.add_row(*(row[name] for name in (*TEXTS, *FACTS)), f"{row['p_' + row['label']]:.2f}")
    Console(width=WIDTH).print(shown)
    right = sum(row["label"] == row["gold_label"] for row in rows)
    return f"{report}\n{'gold label':<12} {right} of {len(rows)} agree ({right / len(rows):.1%})"


def main() -> int:
    """Run the demo; its output stays in `demo-output/`, so a second run has nothing to label."""
    argv = ["--input", str(ROOT / "albert_infer/builtin/pairs.parquet"), "--output", str(ROOT / "demo-output")]
    argv += ["--carry", "gold_label,domain", "--replace"]
    return run_command(LabelSettings, labelled, argv, program="demo.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
