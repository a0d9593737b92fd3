"""What the demo shows: some labelled pairs, how many labels are right, the report, and the command to go on with."""

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
# Where stdout is no terminal.
WIDTH: Final = 100
# Of the columns beside the texts, and of the spaces between them.
BESIDE_TEXTS: Final = 2 + 3 + 13 + 3 + 5 + 3 + 13
LEAST_TEXT: Final = 20
# Of a text; the rest is cut.
MOST_LINES: Final = 3
# Before a hypothesis.
INDENT: Final = "  "
STAND_IN: Final = (
    "the built-in one is a small stand-in for trying things out, and these pairs are hard for it; "
    "--model takes your own: a folder, s3://… or a Hugging Face name@revision"
)


@dataclass(frozen=True)
class LabelledPair:
    """A pair with its label, the probability of that label, and the label that was expected."""

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
    """The pairs of a published run that carries `gold_label`."""
    pairs = [
        LabelledPair(row["premise"], row["hypothesis"], row["label"], row[f"p_{row['label']}"], row["gold_label"])
        for row in labelled.to_pylist()
    ]
    return sorted(pairs, key=lambda pair: pair.probability, reverse=True)


def demo_text(
    labelled: pa.Table, report: PrintableText, command: Sequence[str], *, width: int | None = None
) -> PrintableText:
    """The `labelled` pairs in part, the `report` of the run, and the `command` that labels such pairs again.

    It fits a terminal of `width` columns.
    """
    pairs = most_certain_first(labelled)
    facts = {"gold label": _agreement(pairs), "checkpoint": STAND_IN}
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
    """The command as a shell takes it; one that is wider than `width` has a line for each flag."""
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
    """Some pairs from the most certain label to the least, so that every degree of certainty is among them."""
    last, steps = len(pairs) - 1, max(min(PAIRS_SHOWN, len(pairs)) - 1, 1)
    chosen = [pairs[place] for place in dict.fromkeys(round(step * last / steps) for step in range(steps + 1))]
    names = ("premise, below it the hypothesis", "label", "prob.", "expected")
    lines: list[tuple[str, ...]] = []
    for pair in chosen:
        premise, *others = _text_lines(pair, max(width - BESIDE_TEXTS, LEAST_TEXT))
        lines.append((premise, pair.label, f"{pair.probability:.2f}", "the same" if pair.is_right else pair.expected))
        lines += [(line, "", "", "") for line in others]
        lines.append(("",) * len(names))
    title = f"{len(chosen)} of {len(pairs)} labelled pairs, from the most certain label to the least"
    return [title, *table_lines([Column(name, no_wrap=True) for name in names], lines[:-1], width=width)]


def _text_lines(pair: LabelledPair, width: int) -> list[str]:
    wrap = partial(textwrap.wrap, width=width, max_lines=MOST_LINES, placeholder=" …")
    return [*wrap(pair.premise), *wrap(pair.hypothesis, initial_indent=INDENT, subsequent_indent=INDENT)]


def _agreement(pairs: Sequence[LabelledPair]) -> str:
    """How many labels are the expected ones: of all pairs, and of the most certain and the least certain third."""
    third = max(len(pairs) // 3, 1)
    right, certain, uncertain = (sum(pair.is_right for pair in part) for part in (pairs, pairs[:third], pairs[-third:]))
    return (
        f"{right} of {len(pairs)} labels are the expected ones ({right / len(pairs):.0%}): "
        f"{certain / third:.0%} of the most certain third, {uncertain / third:.0%} of the least certain"
    )
