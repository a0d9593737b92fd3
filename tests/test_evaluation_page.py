"""The page shows what the JSON holds, needs nothing else, and never takes a text for a tag."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from evaluated_rows import Rows, made_up_rows

from albert_infer.learning.evaluation.comparison import Comparison, churn
from albert_infer.learning.evaluation.counting import Counts
from albert_infer.learning.evaluation.document import SHOWN_VALUES, Evaluation, against_gold, row_counts
from albert_infer.learning.evaluation.page import html_page
from albert_infer.learning.evaluation.pictures import VARIABLES
from albert_infer.learning.evaluation.summary import headline_text

SOURCE = {"run": "labels/", "model": "builtin", "precision": "fp32", "gold_column": "gold_label"}
EVIL = "<script>alert(1)</script><img src=x>"


def evaluation_of(rows: Rows, *, texts: bool = True, compared: bool = True) -> Evaluation:
    table = rows.table(topic=pa.array([f"topic {row} {EVIL}" for row in range(len(rows.gold))]))
    table = table.set_column(
        table.column_names.index("premise"), "premise", pa.array([f"{EVIL} {row}" for row in range(table.num_rows)])
    )
    counts = Counts(["topic"], review_below=0.6)
    counts.add(table)
    comparison = Comparison(iter([table]))
    comparison.add(table)
    comparison.finish()
    gold = counts.cells.any()
    return Evaluation(
        SOURCE,
        row_counts(counts, {"empty_text": 3}),
        against_gold(counts, lambda place: ("in/a.parquet", place), texts=texts) if gold else None,
        churn(comparison, SOURCE) if compared else None,
        None,
        {"albert-infer": "0"},
    )


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and whether each that is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102  (the library's)
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluation_of(made_up_rows(400, seed=1, unknown=0.1))


@pytest.fixture(scope="module")
def page(evaluation: Evaluation) -> str:
    return html_page(evaluation).decode()


def test_texts_and_values_of_the_input_are_escaped(page: str) -> None:
    assert EVIL not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > SHOWN_VALUES
    assert {tag for tag, _ in Tags(page).seen}.isdisjoint({"script", "img", "iframe", "object", "a"})


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    tags = Tags(page)
    assert tags.open == []
    for tag, attributes in tags.seen:
        assert "src" not in attributes
        assert tag != "link"
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert (
        re.findall(r"url\((?!#)|@import|https?://(?!www\.w3\.org|purl\.org|creativecommons\.org|matplotlib)", page)
        == []
    )


def test_pictures_take_the_colours_of_the_page(page: str) -> None:
    assert page.count("<svg") == 2
    for drawn, variable in VARIABLES.items():
        assert drawn not in page
        assert variable in page


def test_a_page_is_the_same_each_time(evaluation: Evaluation, page: str) -> None:
    assert html_page(evaluation).decode() == page


def test_the_json_is_strict_and_holds_every_figure(evaluation: Evaluation) -> None:
    told = json.loads(evaluation.to_json())
    assert told["format"] == 1
    gold = told["against_gold"]
    assert (
        gold["quality"]["accuracy"]["low"] < gold["quality"]["accuracy"]["value"] < gold["quality"]["accuracy"]["high"]
    )
    assert told["rows"]["with_gold"] + told["rows"]["without_gold"] == told["rows"]["labelled"] == 400
    assert told["churn"]["agreement"]["value"] == 1.0
    assert len(gold["slices"]["topic"]) == SHOWN_VALUES + 1
    assert sum(each["summary"]["rows"] for each in gold["slices"]["topic"]) == told["rows"]["with_gold"]
    assert b"NaN" not in evaluation.to_json()


@pytest.mark.computes
def test_without_texts_neither_page_nor_json_has_any() -> None:
    silent = evaluation_of(made_up_rows(60, seed=1), texts=False)
    for told in (html_page(silent).decode(), silent.to_json().decode()):
        assert "hypothesis 1" not in told
    assert silent.against_gold is not None
    assert silent.against_gold.hardest[0].file == "in/a.parquet"


@pytest.mark.computes
@pytest.mark.parametrize(
    "rows",
    [
        made_up_rows(1, seed=0),
        made_up_rows(30, seed=0, right=1.0),
        made_up_rows(30, seed=0, right=0.0),
        Rows(np.zeros(40, np.int8), np.tile(np.array([1, 0, 0], np.float32), (40, 1))),
        made_up_rows(30, seed=0, unknown=1.0),
    ],
    ids=["one row", "all right", "all wrong", "one label", "no gold"],
)
def test_rows_that_say_little_still_make_a_page(rows: Rows) -> None:
    evaluation = evaluation_of(rows)
    page = html_page(evaluation).decode()
    assert Tags(page).open == []
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert "nan" not in headline_text(evaluation, "out")
    json.loads(evaluation.to_json())


def test_the_text_names_the_headline_figures_and_where_the_page_is(evaluation: Evaluation) -> None:
    text = headline_text(evaluation, "there/")
    for told in ("accuracy", "macro-F1", "neutral: recall", "hypotheses alone", "accuracy below 0.6", "empty_text 3"):
        assert told in text
    assert text.endswith("evaluation.html and evaluation.json in there/")
