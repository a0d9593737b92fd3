"""The demo: labels the pairs of the package with the built-in checkpoint, and shows a table and the next command."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.parquet as pq

from albert_infer.common.display import terminal_width
from albert_infer.common.printable import PrintableText
from albert_infer.config import DemoSettings
from albert_infer.job.run import label_pairs
from albert_infer.operations.demo_text import demo_text
from albert_infer.operations.program import from_here


def labelled_pairs(settings: DemoSettings, label: Sequence[str]) -> PrintableText:
    """Label the pairs; return some of them, the report and the next command as text.

    `label` are the words that start the labelling job.
    """
    width = terminal_width()
    report = label_pairs(settings).to_text(settings.output, width=width)
    return demo_text(pq.read_table(settings.output), report, next_command(label, settings.input), width=width)


def next_command(label: Sequence[str], pairs: str) -> list[str]:
    """The command with which a user labels the same pairs in the current folder."""
    *words, source = map(from_here, (*label, pairs))
    return [*words, "--input", source, "--output", "demo-labels/", "--carry", "all"]
