"""A value of a table is shown as it is, on one line, whatever it holds."""

from __future__ import annotations

from rich.table import Column

from albert_infer.tables import table_lines


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
