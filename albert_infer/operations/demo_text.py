"""The text of the demo: some labelled pairs, the share of right labels, the report, and the next command."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow as pa
from rich.table import Column

from albert_infer.common.printable import PrintableText, text_of
from albert_infer.common.tables import fact_lines, table_lines

PAIRS_SHOWN: Final = 6
# The width if stdout is no terminal.
WIDTH: Final = 100
# The width of all columns except the texts, with the spaces between them.
OTHER_COLUMNS_WIDTH: Final = 2 + 3 + 13 + 3 + 5 + 3 + 13
LEAST_TEXT: Final = 20
# Lines of one text; the rest is cut.
MOST_LINES: Final = 3
# Precedes a hypothesis.
INDENT: Final = "  "
CHECKPOINT_NOTE: Final = (
    "the built-in one is small and only for trying things out, and these pairs are hard for it; "
    "--model takes your own: a folder, s3://… or a Hugging Face name@revision"
)


@dataclass(frozen=True)
class LabelledPair:
    """A pair with its label, the label's probability, and the expected label."""

    premise: str
    hypothesis: str
    label: str
    probability: float
    expected: str

    @property
    def is_right(self) -> bool:
        """Whether the label is the expected one."""
        return self.label == self.expected


def most_certain_first(labelled: pa.Table) -> list[LabelledPair]:
    """The pairs of a run that carries `gold_label`, in falling order of their probability."""
    pairs = [
        LabelledPair(row["premise"], row["hypothesis"], row["label"], row[f"p_{row['label']}"], row["gold_label"])
        for row in labelled.to_pylist()
    ]
    return sorted(pairs, key=lambda pair: pair.probability, reverse=True)


def demo_text(
    labelled: pa.Table, report: PrintableText, command: Sequence[str], *, width: int | None = None
) -> PrintableText:
    """Some of the `labelled` pairs, the `report` of the run, and the next `command`.

    The text fits a terminal of `width` columns.
    """
    pairs = most_certain_first(labelled)
    facts = {"gold label": _agreement(pairs), "checkpoint": CHECKPOINT_NOTE}
    following = {"next": "the command below labels the same pairs; then name your own Parquet files with --input"}
    return text_of(
        [
            *_table(pairs, width or WIDTH),
            *fact_lines(facts, width=width),
            "",
            *report.split("\n"),
            "",
            *fact_lines(following, width=width),
            *command_lines(command, width=width),
        ]
    )


def command_lines(command: Sequence[str], *, width: int | None = None) -> list[str]:
    """The command in shell syntax; a command that is wider than `width` has one line for each flag."""
    words = [shlex.quote(word) for word in command]
    if width is None or len(" ".join(words)) <= width:
        return [" ".join(words)]
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n    ".join(map(" ".join, lines)).split("\n")


def _table(pairs: Sequence[LabelledPair], width: int) -> list[str]:
    """A table of pairs with evenly spaced ranks, from the most certain label to the least certain."""
    last, steps = len(pairs) - 1, max(min(PAIRS_SHOWN, len(pairs)) - 1, 1)
    chosen = [pairs[index] for index in dict.fromkeys(round(step * last / steps) for step in range(steps + 1))]
    names = ("premise, below it the hypothesis", "label", "prob.", "expected")
    lines: list[tuple[str, ...]] = []
    for pair in chosen:
        premise, *others = _text_lines(pair, max(width - OTHER_COLUMNS_WIDTH, LEAST_TEXT))
        lines.append((premise, pair.label, f"{pair.probability:.2f}", "the same" if pair.is_right else pair.expected))
        lines += [(line, "", "", "") for line in others]
        lines.append(("",) * len(names))
    title = f"{len(chosen)} of {len(pairs)} labelled pairs, from the most certain label to the least"
    return [title, *table_lines([Column(name, no_wrap=True) for name in names], lines[:-1], width=width)]


def _text_lines(pair: LabelledPair, width: int) -> list[str]:
    wrap = partial(textwrap.wrap, width=width, max_lines=MOST_LINES, placeholder=" …")
    return [*wrap(pair.premise), *wrap(pair.hypothesis, initial_indent=INDENT, subsequent_indent=INDENT)]


def _agreement(pairs: Sequence[LabelledPair]) -> str:
    """The share of expected labels: of all pairs, of the most certain third and of the least certain third."""
    third = max(len(pairs) // 3, 1)
    right, certain, uncertain = (sum(pair.is_right for pair in part) for part in (pairs, pairs[:third], pairs[-third:]))
    return (
        f"{right} of {len(pairs)} labels are the expected ones ({right / len(pairs):.0%}): "
        f"{certain / third:.0%} of the most certain third, {uncertain / third:.0%} of the least certain"
    )
