"""`Labeler.topics` and `Labeler.consistency` give the results of a job, and refuse a wrong argument in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from many_questions import DOCUMENTS, SUMMARIES, TEXTS, TOPICS, labelled, summaries, texts

from albert_infer import Labeler, read_labels
from albert_infer.errors import InputError, SettingsError
from albert_infer.read.hypotheses import MAX_HYPOTHESES
from albert_infer.schema import HypothesisSet

pytestmark = pytest.mark.usefixtures("one_thread")
RESULTS = ["best", "score", "top", "top_scores", "n_pairs", "n_tokens", "truncated"]
VERDICT = ["rejection", "detail"]


@pytest.fixture(scope="module")
def labeler() -> Labeler:
    return Labeler(precision="fp32", device="cpu")


def good_rows(table: pa.Table) -> pa.Table:
    return table.filter(table["rejection"].is_null()).drop_columns(VERDICT)


@pytest.mark.computes
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("options", [{}, {"review_below": 0.6, "long_premise": "window", "max_length": 16}])
def test_topics_are_those_of_a_job_bit_by_bit(tmp_path: Path, multi_label: bool, options: dict[str, Any]) -> None:
    rule = {"fold": "topics_multi"} if multi_label else {}
    run = labelled(tmp_path, texts(), candidates=TOPICS, top_k=2, **rule, **options)
    given = Labeler(precision="fp32", device="cpu", **options)
    table = given.topics(texts(), TOPICS, multi_label=multi_label, top_k=2)
    assert table["rejection"].to_pylist() == [None, None, None, "null_text", None, "empty_text", None]
    published = read_labels(run)
    assert good_rows(table).select(published.column_names).equals(published)


@pytest.mark.computes
@pytest.mark.parametrize("options", [{}, {"long_premise": "window", "max_length": 16}])
def test_consistency_is_that_of_a_job_bit_by_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    run = labelled(tmp_path, summaries(), split_premise="sentences", split_hypothesis="sentences", **options)
    table = Labeler(precision="fp32", device="cpu", **options).consistency(summaries())
    published = read_labels(run)
    assert good_rows(table).select(published.column_names).equals(published)
    assert table["n_pairs"].to_pylist() == [2, 4, 4, 2]


def test_all_columns_stay_and_the_results_are_at_the_end(labeler: Labeler) -> None:
    frame = pd.DataFrame({"premise": TEXTS, "source": range(len(TEXTS))}, index=list("abcdefg"))
    table = labeler.topics(frame, TOPICS)
    assert table.column_names == ["premise", "source", "__index_level_0__", *RESULTS, *VERDICT]
    assert table.to_pandas().index.tolist() == list("abcdefg")
    assert table["top"].to_pylist()[3] is None
    assert [len(top) for top in table["top"].to_pylist() if top is not None] == [3] * 5
    pairs = labeler.consistency(DOCUMENTS, SUMMARIES)
    results = ["score", "premise_sentence", "hypothesis_sentence", "n_pairs", "n_tokens", "truncated"]
    assert pairs.column_names == ["premise", "hypothesis", *results, *VERDICT]


@pytest.mark.parametrize(
    "form",
    [
        iter,
        pa.array,
        lambda given: pa.chunked_array([given]),
        pd.Series,
        lambda given: pa.table({"premise": given}),
        lambda given: pd.DataFrame({"premise": given}),
    ],
)
def test_texts_may_be_a_list_a_column_or_a_table(labeler: Labeler, form: Callable[[list[Any]], Any]) -> None:
    expected, table = labeler.topics(list(TEXTS), TOPICS), labeler.topics(form(list(TEXTS)), TOPICS)
    assert table.select(RESULTS).equals(expected.select(RESULTS))
    if "premise" not in getattr(form(list(TEXTS)), "columns", []) and not isinstance(form(list(TEXTS)), pa.Table):
        columns = labeler.consistency(form(list(DOCUMENTS)), form(list(SUMMARIES)))
        assert columns.equals(labeler.consistency(DOCUMENTS, SUMMARIES))


def test_columns_of_polars_are_texts(labeler: Labeler) -> None:
    polars = pytest.importorskip("polars")
    expected = labeler.topics(list(TEXTS), TOPICS).select(RESULTS)
    assert labeler.topics(polars.Series(TEXTS), TOPICS).select(RESULTS).equals(expected)
    assert labeler.topics(polars.DataFrame({"premise": TEXTS}), TOPICS).select(RESULTS).equals(expected)


def test_candidates_are_names_or_hypotheses_by_their_ids(labeler: Labeler) -> None:
    names = labeler.topics(TEXTS, TOPICS, hypothesis_template="It is about {}.")
    hypotheses = {name.upper(): f"It is about {name}." for name in TOPICS}
    by_id = labeler.topics(TEXTS, hypotheses)
    same = labeler.topics(TEXTS, HypothesisSet(tuple(hypotheses), tuple(hypotheses.values())))
    assert by_id["top_scores"].equals(names["top_scores"])
    assert by_id.equals(same)
    assert by_id["best"][0].as_py() == names["best"][0].as_py().upper()
    commas = labeler.topics(TEXTS[:1], ["health, medicine", "sport"])
    assert set(commas["top"].to_pylist()[0]) == {"health, medicine", "sport"}


def test_rows_are_prepared_some_at_a_time_with_the_same_ranking(
    labeler: Labeler, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = labeler.topics(TEXTS, TOPICS)
    monkeypatch.setattr("albert_infer.labeler.PAIRS_AT_A_TIME", 2 * len(TOPICS))
    parts = labeler.topics(TEXTS, TOPICS)
    assert parts["top"].equals(whole["top"])
    assert parts["rejection"].to_pylist() == whole["rejection"].to_pylist()


def test_no_rows_are_a_table_with_the_columns(labeler: Labeler) -> None:
    assert labeler.topics([], TOPICS).schema.equals(labeler.topics(TEXTS, TOPICS).schema)
    assert labeler.consistency([], []).schema.equals(labeler.consistency(DOCUMENTS, SUMMARIES).schema)
    assert labeler.consistency([None], ["x"])["rejection"].to_pylist() == ["null_text"]


def test_a_line_shows_the_progress_of_rows(labeler: Labeler, caplog: pytest.LogCaptureFixture) -> None:
    assert labeler.topics(TEXTS, TOPICS, progress=True).num_rows == len(TEXTS)


@pytest.mark.parametrize(
    ("candidates", "options", "problem"),
    [
        ("sport,music", {}, "it is no list of names; give a list of names"),
        (3, {}, "it is no list of names"),
        ([], {}, "candidates: none; give two or more"),
        (["sport"], {}, "one candidate, whose share is always 1; give two or more, or multi_label=True"),
        (["sport", "sport"], {}, "candidate 2 has the `hypothesis_id` `sport`, as candidate 1 has"),
        (["sport", 3], {}, "candidate 2 is of type int, not a text"),
        (["sport", None], {}, "candidate 2: `hypothesis_id` is null"),
        (["sport", " "], {}, "candidate 2: `hypothesis_id` is blank"),
        (["sport", "\ud83d"], {}, "candidate 2: `hypothesis_id` is not UTF-8"),
        ({"a": "It is sport.", "b": ""}, {}, "candidate 2: `hypothesis` is blank"),
        ({"a": "It is sport.", 3: "It is music."}, {}, "candidate 2 is of type int"),
        ({"a": "A.", "b": "B."}, {"hypothesis_template": "On {}."}, "these candidates are whole hypotheses"),
        (map(str, range(MAX_HYPOTHESES + 1)), {}, "candidate 10,001 is hypothesis 10,001, and at most 10,000 are read"),
        (
            {"a": "A.", "b": "long " * 5_000},
            {},
            "`b` has 5,000 tokens, and a pair has at most 512; shorten it, or raise",
        ),
        (TOPICS, {"hypothesis_template": "about"}, "hypothesis_template='about': expected one {}"),
        (TOPICS, {"hypothesis_template": None}, "hypothesis_template=None: it is not a text"),
        (TOPICS, {"top_k": 0}, "top_k=0: it is not such a number"),
    ],
)
def test_wrong_candidates_are_one_line(
    labeler: Labeler, candidates: Any, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        labeler.topics(TEXTS, candidates, **options)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        (lambda given: given.topics("a text", TOPICS), "found str; give a list of texts, or a table with the column"),
        (lambda given: given.topics({"premise": ["x"]}, TOPICS), "found dict"),
        (lambda given: given.topics(None, TOPICS), "found NoneType"),
        (lambda given: given.topics(pa.table({"text": ["x"]}), TOPICS), "one column premise: 0 among text; rename"),
        (lambda given: given.topics(pa.table({"premise": ["x"], "best": [1]}), TOPICS), "columns best are there"),
        (lambda given: given.consistency(["a"], ["b", "c"]), "they have 1 and 2 texts; give one summary for each"),
        (lambda given: given.consistency("a", "b"), "found str"),
        (lambda given: given.consistency(summaries(), SUMMARIES), "found Table"),
        (lambda given: given.consistency(texts()), "one column hypothesis: 0 among"),
    ],
)
def test_texts_that_are_none_are_one_line(labeler: Labeler, ask: Callable[[Labeler], Any], problem: str) -> None:
    with pytest.raises(InputError) as refused:
        ask(labeler)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_score_of_consistency_has_no_limit_for_a_review() -> None:
    with pytest.raises(SettingsError, match="a score of consistency is no probability; give a Labeler without"):
        Labeler(review_below=0.5, device="cpu").consistency(DOCUMENTS, SUMMARIES)
