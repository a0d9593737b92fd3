"""What the demo shows: some labelled pairs, how many labels are right, the report, and the command to go on with."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

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
STAND_IN: Final = (
    "the built-in one is a small stand-in for trying things out, and these pairs are hard for it; "
    "--model takes your own: a folder, s3://… or a Hugging Face name@revision"
)


def demo_text(
    rows: Sequence[Mapping[str, Any]], report: PrintableText, command: Sequence[str], *, width: int | None = None
) -> PrintableText:
    """The labelled `rows` in part, the `report` of the run, and the `command` that labels such pairs again.

    It fits a terminal of `width` columns.
    """
    facts = {"gold label": _agreement(rows), "checkpoint": STAND_IN}
    following = {"next": "the command below labels the same pairs; then name your own Parquet files with --input"}
    return text_of(
        [
            *_table(rows, width or WIDTH),
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


def _table(rows: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Some pairs from the most certain label to the least, so that every degree of certainty is among them."""
    ranked = sorted(rows, key=_probability, reverse=True)
    last, steps = len(ranked) - 1, max(min(PAIRS_SHOWN, len(ranked)) - 1, 1)
    chosen = [ranked[place] for place in dict.fromkeys(round(step * last / steps) for step in range(steps + 1))]
    names = ("premise, below it the hypothesis", "label", "prob.", "expected")
    columns = [Column(name, no_wrap=True) for name in names]
    lines: list[tuple[str, ...]] = []
    for row in chosen:
        premise, *others = _text_lines(row, max(width - BESIDE_TEXTS, LEAST_TEXT))
        expected = "the same" if row["label"] == row["gold_label"] else str(row["gold_label"])
        lines.append((premise, str(row["label"]), f"{_probability(row):.2f}", expected))
        lines += [(line, "", "", "") for line in others]
        lines.append(("",) * len(columns))
    title = f"{len(chosen)} of {len(rows)} labelled pairs, from the most certain label to the least"
    return [title, *table_lines(columns, lines[:-1], width=width)]


def _text_lines(row: Mapping[str, Any], width: int) -> list[str]:
    cut, indent = {"max_lines": MOST_LINES, "placeholder": " …"}, {"initial_indent": "  ", "subsequent_indent": "  "}
    hypothesis = textwrap.TextWrapper(width, **cut, **indent).wrap(str(row["hypothesis"]))
    return [*textwrap.TextWrapper(width, **cut).wrap(str(row["premise"])), *hypothesis]


def _probability(row: Mapping[str, Any]) -> float:
    return float(row[f"p_{row['label']}"])


def _agreement(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many labels are the expected ones: of all pairs, and of the most certain and the least certain third."""
    ranked = sorted(rows, key=_probability, reverse=True)
    third = max(len(ranked) // 3, 1)
    parts = [_right(ranked), _right(ranked[:third]), _right(ranked[-third:])]
    return (
        f"{parts[0]} of {len(rows)} labels are the expected ones ({parts[0] / len(rows):.0%}): "
        f"{parts[1] / third:.0%} of the most certain third, {parts[2] / third:.0%} of the least certain"
    )


def _right(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["label"] == row["gold_label"] for row in rows)
