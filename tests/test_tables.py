"""A value of a table is shown as it is, on one line, whatever it holds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from rich.table import Column

from albert_infer.common.tables import fact_lines, table_lines


def test_a_value_is_neither_markup_nor_several_lines() -> None:
    told = "[red]:smile: [/x] a\nb\x1b[0m\u202e"
    lines = table_lines([Column("name"), Column("n", justify="right")], [(told, "1"), ("é", "22")], width=80)
    assert len(lines) == 6, "a heading, a rule, two rows, and an empty line above and below"
    assert any(r"[red]:smile: [/x] a\nb\x1b[0m\u202e" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_title_stands_above_and_no_line_is_wider_than_asked() -> None:
    lines = table_lines([Column("name", no_wrap=True)], [("x" * 200,)], width=40, title="[b]first[/b]")
    assert lines[0].strip() == "[b]first[/b]"
    assert max(map(len, lines)) <= 40


FACTS = {"first": "one two three four five six seven eight nine", "path": "s3://bucket/" + "x" * 60, "odd": "a\nb"}


def test_without_a_width_a_fact_is_one_line() -> None:
    first, path, odd = fact_lines(FACTS)
    assert first == "first        one two three four five six seven eight nine"
    assert path.endswith("x" * 60)
    assert odd == r"odd          a\nb"


def test_a_long_fact_goes_on_below_itself_and_a_path_stays_whole() -> None:
    assert fact_lines(FACTS, width=40) == [
        "first        one two three four five six",
        "             seven eight nine",
        f"path         s3://bucket/{'x' * 60}",
        r"odd          a\nb",
    ]
    assert fact_lines(FACTS, width=1) == fact_lines(FACTS, width=40), "a narrower terminal wraps by itself"


@pytest.mark.parametrize(("encoding", "rule"), [("utf-8", "─"), ("ascii", "-"), ("latin-1", "-"), ("no such", "-")])
def test_the_rule_and_the_mark_of_a_cut_are_in_the_encoding(encoding: str, rule: str) -> None:
    lines = table_lines([Column("name", no_wrap=True)], [("x" * 200,)], width=40, encoding=encoding)
    assert len(lines) == 5
    assert set(lines[2].strip()) == {rule}
    assert "".join(lines).isascii() == (rule == "-")
    assert max(map(len, lines)) <= 40


@pytest.mark.process
def test_without_an_encoding_stdout_decides() -> None:
    command = "from albert_infer.common.tables import *; print(*table_lines([Column('n')], [('x',)], width=9), sep='|')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:backslashreplace"}
    shown = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == "| n| -| x|\n"
