"""Units are cut by pairs where a row becomes several, and all that decides a result is in their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pairs import RECIPE, pair_table, settings_for, write_pairs

from albert_infer import storage
from albert_infer.read.planning import Plan, make_plan
from albert_infer.read.survey import survey_input
from albert_infer.schema import Expansion, FoldRule, HypothesisSet

SET = HypothesisSet(("a", "b", "c", "d"), ("it is a", "it is b", "it is c", "it is d"))
TOPICS = Expansion(FoldRule.TOPICS, hypotheses=SET)
SENTENCES = Expansion(FoldRule.SUMMAC_ZS, split_premise=True, split_hypothesis=True, splitter="one 1.0")


def planned(source: Path, expansion: Expansion | None, unit_rows: int = 100) -> Plan:
    settings = settings_for(source, unit_rows=unit_rows)
    survey = survey_input(storage.resolve_input(str(source)), settings, expansion)
    return make_plan(survey, settings, RECIPE, 512)


def rows_of(plan: Plan) -> list[int]:
    return [unit.range.rows for unit in plan.units]


def texts(rows: int, sentences: int) -> pa.Table:
    """Documents that no dictionary makes shorter, each with a hypothesis of one sentence."""
    documents = [
        " ".join(f"Sentence {number} of document {row} has some words, and ends here." for number in range(sentences))
        for row in range(rows)
    ]
    return pair_table(documents, [f"A summary of document {row}." for row in range(rows)])


@pytest.mark.parametrize(("unit_rows", "rows"), [(100, [25, 5]), (4, [4] * 7 + [2]), (40, [16, 14]), (1000, [30])])
def test_a_unit_has_as_many_rows_as_make_its_pairs_or_sixteen(tmp_path: Path, unit_rows: int, rows: list[int]) -> None:
    write_pairs(tmp_path / "a.parquet", texts(30, 1).select(["premise"]))
    assert rows_of(planned(tmp_path, TOPICS, unit_rows)) == rows


def test_a_unit_of_longer_texts_has_fewer_rows_and_every_row_is_in_one(tmp_path: Path) -> None:
    plans = []
    for sentences in (2, 20, 60):
        write_pairs(tmp_path / f"{sentences}" / "a.parquet", texts(50, sentences))
        plans.append(rows_of(planned(tmp_path / f"{sentences}", SENTENCES, 200)))
    assert [sum(rows) for rows in plans] == [50, 50, 50]
    assert [max(rows) for rows in plans] == sorted((max(rows) for rows in plans), reverse=True)
    assert max(plans[-1]) < max(plans[0])


def test_the_names_of_a_run_without_an_expansion_stay(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", texts(3, 1))
    plan = planned(tmp_path, None)
    assert "expansion" not in plan.recipe
    assert "hypotheses" not in plan.to_json()


CHANGES = {
    "the text of a hypothesis": replace(TOPICS, hypotheses=replace(SET, texts=("it is A", *SET.texts[1:]))),
    "the id of a hypothesis": replace(TOPICS, hypotheses=replace(SET, ids=("A", *SET.ids[1:]))),
    "the order of the set": replace(TOPICS, hypotheses=HypothesisSet(SET.ids[::-1], SET.texts[::-1])),
    "the rule": replace(TOPICS, fold=FoldRule.TOPICS_MULTI),
    "the tables": replace(TOPICS, publish="both"),
    "the hypotheses in top": replace(TOPICS, top_k=2),
    "a split": replace(TOPICS, fold=FoldRule.ANY_ENTAILMENT, split_premise=True),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_all_that_decides_a_result_is_in_the_names(tmp_path: Path, changed: Expansion) -> None:
    write_pairs(tmp_path / "a.parquet", texts(3, 1))
    before, after = planned(tmp_path, TOPICS), planned(tmp_path, changed)
    assert after.plan_id != before.plan_id
    assert {unit.unit_id for unit in before.units}.isdisjoint(unit.unit_id for unit in after.units)


def test_another_version_of_the_splitter_labels_again(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", texts(3, 1))
    plans = [planned(tmp_path, replace(SENTENCES, splitter=splitter)) for splitter in ("one 1.0", "one 1.1")]
    assert plans[0].plan_id != plans[1].plan_id


def test_the_plan_has_the_set_for_people_and_for_verify(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", texts(3, 1))
    assert planned(tmp_path, TOPICS).to_json()["hypotheses"] == tuple(zip(SET.ids, SET.texts, strict=True))
