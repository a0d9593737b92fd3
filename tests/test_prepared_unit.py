"""A unit whose rows become several pairs is quarantined if its pairs are too many for one worker."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pairs import wordpiece
from test_decoding import whole
from test_reading import pinned
from test_tokenization import tokenizer_of

from albert_infer.pipeline.unit import prepared_unit
from albert_infer.read.decoding import PairReader
from albert_infer.read.planning import Unit
from albert_infer.schema import (
    DETAIL,
    N_PAIRS,
    UNIT_QUARANTINE,
    Expansion,
    FoldRule,
    HypothesisSet,
    PairColumns,
    Quarantine,
)

SET = HypothesisSet(("dogs", "men"), ("the dog runs", "a man plays music"))


@pytest.fixture
def unit(tmp_path: Path) -> tuple[Unit, PairReader]:
    """Three rows of two pairs each."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"premise": ["a man", "the dog", "a park"]}), path)
    folder, pin = pinned(path)
    columns = PairColumns(expansion=Expansion(FoldRule.TOPICS, hypotheses=SET))
    return Unit("u", pin, whole(path)), PairReader(folder, columns)


def test_a_unit_with_too_many_pairs_is_quarantined(unit: tuple[Unit, PairReader]) -> None:
    table = prepared_unit(*unit, tokenizer_of(wordpiece()), max_pairs=5)
    assert table[UNIT_QUARANTINE].to_pylist() == [str(Quarantine.LIMIT_PAIRS)]
    assert table[DETAIL].to_pylist() == ["its 3 rows have 6 pairs, at most 5; lower --unit-rows"]


def test_a_unit_may_have_the_most_pairs(unit: tuple[Unit, PairReader]) -> None:
    table = prepared_unit(*unit, tokenizer_of(wordpiece()), max_pairs=6)
    assert table[UNIT_QUARANTINE].to_pylist() == [None] * 3
    assert table[N_PAIRS].to_pylist() == [2] * 3
