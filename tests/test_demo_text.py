"""What the demo shows fits the terminal, hides no wrong label, and ends in a command that a shell takes."""

from __future__ import annotations

import shlex
from typing import Any

import pyarrow as pa
import pytest

from albert_infer.common.printable import text_of
from albert_infer.operations.demo_text import command_lines, demo_text
from albert_infer.schema import NliLabel

E, N, C = NliLabel
COMMAND = [".venv/bin/python", "jobs/label_pairs.py", "--input", "albert_infer/model/builtin/pairs.parquet"]
COMMAND += ["--output", "demo-labels/", "--carry", "all"]
REPORT = text_of(["published    30 of 30 pairs labelled, in demo-output/"])


def pair(place: int, probability: float, *, right: bool) -> dict[str, Any]:
    return {
        "premise": f"Premise {place}: an old man in a grey coat is feeding pigeons beside the fountain in the square.",
        "hypothesis": f"Hypothesis {place}: some birds are being given food outdoors, as they are on each morning.",
        "gold_label": "contradiction",
        "label": str(C if right else N),
        "p_contradiction": probability if right else 0.0,
        "p_neutral": 0.0 if right else probability,
    }


# The most certain third is right, and of the others every second.
PAIRS = pa.Table.from_pylist(
    [pair(place, 1 - place / 50, right=place < 10 or place % 2 == 0) for place in reversed(range(30))]
)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_all_but_the_command_fits_the_terminal_and_texts_are_whole(width: int) -> None:
    lines = demo_text(PAIRS, REPORT, COMMAND, width=width).splitlines()
    assert max(map(len, lines)) <= width
    table = " ".join(" ".join(line[: width - 40] for line in lines).split())
    assert "Premise 0: an old man" in table
    premises = [line for line in lines if line.strip().startswith("Premise ")]
    assert len(premises) == 6
    assert all(("in the square." in line) == (width == 200) for line in premises)


def test_pairs_are_shown_from_the_most_certain_label_to_the_least_with_what_was_expected() -> None:
    lines = demo_text(PAIRS, REPORT, COMMAND, width=200).splitlines()
    rows = [line.split() for line in lines if line.strip().startswith("Premise ")]
    assert [row[1] for row in rows] == ["0:", "6:", "12:", "17:", "23:", "29:"]
    assert [row[-2:] for row in rows[:3]] == [["the", "same"]] * 3
    assert [row[-3:] for row in rows[3:]] == [
        ["neutral", f"{1 - place / 50:.2f}", "contradiction"] for place in (17, 23, 29)
    ]


def test_it_says_how_many_labels_are_right_and_that_the_checkpoint_is_a_stand_in() -> None:
    text = " ".join(demo_text(PAIRS, REPORT, COMMAND, width=80).split())
    assert "20 of 30 labels are the expected ones (67%): 100% of the most certain third, 50% of the least" in text
    assert "the built-in one is small" in text
    assert "--model takes your own" in text
    assert str(REPORT).split()[0] in text


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_pairs_are_all_shown_once(count: int) -> None:
    lines = demo_text(PAIRS.slice(0, count), REPORT, COMMAND, width=200).splitlines()
    assert sum(line.strip().startswith("Premise ") for line in lines) == count
    assert lines[0] == f"{count} of {count} labelled pairs, from the most certain label to the least"


def test_a_command_that_is_too_wide_has_a_line_for_each_flag_and_means_the_same_to_a_shell() -> None:
    assert command_lines(COMMAND) == [" ".join(COMMAND)]
    command = [*COMMAND, "--model", "my checkpoint/"]
    lines = command_lines(command, width=80)
    assert max(map(len, lines)) <= 80
    assert lines[0] == ".venv/bin/python jobs/label_pairs.py \\"
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == command
