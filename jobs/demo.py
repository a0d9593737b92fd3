"""Label the pairs that ship in the package with the checkpoint that ships in the package; show what comes back.

python jobs/demo.py

Other flags of label_pairs.py are taken too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from rich.table import Column

from albert_infer.command import run_command
from albert_infer.config import LabelSettings
from albert_infer.printable import PrintableText, text_of
from albert_infer.run import label_pairs
from albert_infer.tables import table_lines

ROOT = Path(__file__).resolve().parent.parent
ROWS_SHOWN = 9
WIDTH = 140
TEXTS = ("premise", "hypothesis")
FACTS = ("gold_label", "label")


def labelled(settings: LabelSettings) -> PrintableText:
    """Label the pairs; the first of them and the report as text."""
    report = label_pairs(settings).to_text(settings.output)
    rows = pq.read_table(settings.output).to_pylist()
    columns = [Column(name, no_wrap=True, max_width=42) for name in TEXTS]
    columns += [Column(name, no_wrap=True) for name in (*FACTS, "probability")]
    shown = [
        (*(str(row[name]) for name in (*TEXTS, *FACTS)), f"{row['p_' + row['label']]:.2f}") for row in rows[:ROWS_SHOWN]
    ]
    title = f"the first {len(shown)} of {len(rows)} labelled pairs"
    right = sum(row["label"] == row["gold_label"] for row in rows)
    agreement = f"{'gold label':<12} {right} of {len(rows)} agree ({right / len(rows):.1%})"
    return text_of([*table_lines(columns, shown, width=WIDTH, title=title), *report.split("\n"), agreement])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; its output stays in `demo-output/`, so a second run has nothing to label."""
    asked = ["--input", str(ROOT / "albert_infer/builtin/pairs.parquet"), "--output", str(ROOT / "demo-output")]
    asked += ["--carry", "gold_label,domain", "--replace", *(sys.argv[1:] if argv is None else argv)]
    return run_command(LabelSettings, labelled, asked, program="demo.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
