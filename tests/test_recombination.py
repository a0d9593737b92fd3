"""New pairs are made of old texts, none of them an old pair, none twice."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer.schema import HYPOTHESIS, PREMISE
from recipes.builtin.recombination import MAX_HYPOTHESES, recombined

TEXTS = st.sampled_from("abcdef")


def table(pairs: list[tuple[str, str]]) -> pa.Table:
    return pa.table({PREMISE: pa.array([p for p, _ in pairs], pa.string()), HYPOTHESIS: [h for _, h in pairs]})


def pairs_of(made: pa.Table) -> list[tuple[str, str]]:
    return list(zip(made[PREMISE].to_pylist(), made[HYPOTHESIS].to_pylist(), strict=True))


@PROPERTY
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30))
def test_every_new_pair_is_of_one_premise_and_none_is_there_already(pairs: list[tuple[str, str]]) -> None:
    old = table(pairs).cast(pa.schema([(PREMISE, pa.string()), (HYPOTHESIS, pa.string())]))
    made = pairs_of(recombined(old))
    assert len(set(made)) == len(made)
    assert not set(made) & set(pairs)
    scenes = [{premise, *(h for p, h in pairs if p == premise)} for premise, _ in pairs]
    assert all(any({premise, hypothesis} <= scene for scene in scenes) for premise, hypothesis in made)
    assert all(premise != hypothesis for premise, hypothesis in made)


def test_hypotheses_of_one_premise_meet_in_both_orders_and_the_premise_is_a_hypothesis_too() -> None:
    made = pairs_of(recombined(table([("p", "h"), ("p", "i"), ("q", "j")])))
    assert made == [("h", "i"), ("i", "h"), ("h", "p"), ("i", "p"), ("j", "q")]


def test_a_premise_with_many_hypotheses_does_not_outweigh_the_others() -> None:
    made = recombined(table([("p", f"h{number}") for number in range(50)]))
    assert len(made) == MAX_HYPOTHESES * (MAX_HYPOTHESES - 1) + MAX_HYPOTHESES
