"""Label the pairs that ship in the package with the checkpoint that ships in the package; show what comes back.

python jobs/demo.py

Its input, output, --carry and --replace are its own; other flags of label_pairs.py are taken too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from albert_infer.job.signals import starting

with starting(__file__):
    import pyarrow.parquet as pq

    from albert_infer.common.display import terminal_width
    from albert_infer.common.printable import PrintableText
    from albert_infer.config import DemoSettings
    from albert_infer.job.command import run_command
    from albert_infer.job.run import label_pairs
    from albert_infer.operations.demo_text import demo_text

ROOT = Path(__file__).resolve().parent.parent
PAIRS = ROOT / "albert_infer/model/builtin/pairs.parquet"


def labelled(settings: DemoSettings) -> PrintableText:
    """Label the pairs; some of them and the report as text."""
    width = terminal_width()
    report = label_pairs(settings).to_text(settings.output, width=width)
    return demo_text(pq.read_table(settings.output), report, next_command(), width=width)


def next_command() -> list[str]:
    """The command that labels the same pairs as a user would, from the folder that this is called in."""
    python, job, pairs = map(_from_here, (Path(sys.executable), ROOT / "jobs/label_pairs.py", PAIRS))
    return [python, job, "--input", pairs, "--output", "labels/", "--carry", "all"]


def _from_here(path: Path) -> str:
    """The path as one writes it in the folder that this is called in."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; its output stays in `demo-output/`, so a second run has nothing to label."""
    asked = ["--input", str(PAIRS), "--output", _from_here(ROOT / "demo-output")]
    asked += ["--carry", "gold_label,domain", "--replace", *(sys.argv[1:] if argv is None else argv)]
    return run_command(DemoSettings, labelled, asked, program="demo.py", about=__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
