"""Label the pairs that ship in the package with the checkpoint that ships in the package; show what comes back.

python jobs/demo.py

Its input, output, --carry and --replace are its own; other flags of label_pairs.py are taken too.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from albert_infer.job.signals import starting

with starting(__file__):
    import pyarrow.parquet as pq
    from rich.table import Column

    from albert_infer.common.printable import PrintableText, text_of
    from albert_infer.common.tables import table_lines
    from albert_infer.config import DemoSettings
    from albert_infer.job.command import run_command
    from albert_infer.job.run import label_pairs

ROOT = Path(__file__).resolve().parent.parent
PAIRS = ROOT / "albert_infer/model/builtin/pairs.parquet"
ROWS_SHOWN = 9
NAMES = ("premise", "hypothesis", "gold_label", "label")


def labelled(settings: DemoSettings) -> PrintableText:
    """Label the pairs; the first of them and the report as text."""
    report = label_pairs(settings).to_text(settings.output)
    rows = pq.read_table(settings.output).to_pylist()
    columns = [Column(name, no_wrap=True, max_width=42) for name in (*NAMES, "probability")]
    shown = [(*(str(row[name]) for name in NAMES), f"{row['p_' + row['label']]:.2f}") for row in rows[:ROWS_SHOWN]]
    right = sum(row["label"] == row["gold_label"] for row in rows)
    agreement = f"{'gold label':<12} {right} of {len(rows)} agree ({right / len(rows):.1%})"
    following = f"{'next':<12} {shlex.join(next_command())}"
    table = table_lines(columns, shown, width=140, title=f"the first {len(shown)} of {len(rows)} labelled pairs")
    return text_of([*table, *report.split("\n"), agreement, following])


def next_command() -> list[str]:
    """The command that labels the same pairs as a user would, from the folder that this is called in."""
    here = Path.cwd()
    paths = (Path(sys.executable), ROOT / "jobs/label_pairs.py", PAIRS)
    python, job, pairs = (str(path.relative_to(here) if path.is_relative_to(here) else path) for path in paths)
    return [python, job, "--input", pairs, "--output", "labels/", "--carry", "all"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; its output stays in `demo-output/`, so a second run has nothing to label."""
    asked = ["--input", str(PAIRS), "--output", str(ROOT / "demo-output")]
    asked += ["--carry", "gold_label,domain", "--replace", *(sys.argv[1:] if argv is None else argv)]
    return run_command(DemoSettings, labelled, asked, program="demo.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
