"""The tables between the steps have the columns that the design promises."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY

from albert_infer import schema
from albert_infer.schema import EncodedPairs, NliLabel, PairColumns

CARRIED = (pa.field("topic", pa.string()), pa.field("year", pa.int16()))
LABELS = [
    ("label", pa.string()),
    ("p_entailment", pa.float32()),
    ("p_neutral", pa.float32()),
    ("p_contradiction", pa.float32()),
    ("n_tokens", pa.int32()),
    ("truncated", pa.bool_()),
]


def fields(table: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in table]


def test_a_file_of_labels_has_the_promised_columns_in_order() -> None:
    columns = PairColumns("s1", "s2", pair_id="key", id_type=pa.int64(), carried=CARRIED, with_source=True)
    texts = [("premise", pa.string()), ("hypothesis", pa.string())]
    carried = [("topic", pa.string()), ("year", pa.int16())]
    source = [("source_file", pa.string()), ("source_row", pa.int64())]
    assert fields(columns.labelled) == [("pair_id", pa.int64()), *texts, *carried, *source, *LABELS]
    assert fields(PairColumns().labelled) == [*texts, *LABELS]
    assert fields(PairColumns(review_below=0.0).labelled) == [*texts, *LABELS, ("needs_review", pa.bool_())]
    whole = PairColumns(review_below=0.7, with_windows=True)
    assert fields(whole.labelled)[-2:] == [("needs_review", pa.bool_()), ("n_windows", pa.int32())]
    assert fields(whole.prepared)[:-2] == fields(PairColumns().prepared)


def test_a_table_takes_the_order_and_types_that_are_wanted_and_a_slice_keeps_its_nested_nulls() -> None:
    kind = pa.struct([("a", pa.null()), ("b", pa.int32())])
    table = pa.table({"year": pa.array(range(40), pa.int64()), "s": pa.array([{"b": row} for row in range(40)], kind)})
    found = schema.conformed(table.slice(16, 16), pa.schema([("s", kind), ("year", pa.int16())]))
    found.validate(full=True)
    assert fields(found.schema) == [("s", kind), ("year", pa.int16())]
    assert found["s"].to_pylist() == [{"a": None, "b": row} for row in range(16, 32)]
    assert found["year"].to_pylist() == list(range(16, 32))


def test_a_file_of_rejected_rows_has_no_texts_but_the_way_back() -> None:
    columns = PairColumns(pair_id="pair_id", id_type=pa.string(), carried=CARRIED)
    assert columns.rejected.names == ["pair_id", "topic", "year", "source_file", "source_row", "rejection", "detail"]


def test_columns_are_read_under_the_names_of_the_input() -> None:
    columns = PairColumns("s1", "s2", pair_id="key", id_type=pa.string(), carried=CARRIED)
    assert columns.input_names == ["key", "s1", "s2", "topic", "year"]
    assert [field.name for field in columns.pair_fields] == ["pair_id", "premise", "hypothesis", "topic", "year"]


@pytest.mark.parametrize("columns", [PairColumns(), PairColumns(pair_id="k", id_type=pa.int64(), with_source=True)])
def test_every_output_column_is_reserved_and_no_column_between_the_steps_is_one(columns: PairColumns) -> None:
    assert {*columns.labelled.names, *columns.rejected.names} <= schema.RESERVED_NAMES
    inner = {field.name for field in (*schema.POSITION_FIELDS, *schema.TOKEN_FIELDS[:2])}
    assert all(name.startswith("_") for name in inner)
    assert len(set(columns.prepared.names)) == len(columns.prepared.names)


def test_probability_columns_follow_the_order_of_the_labels() -> None:
    assert tuple(f"p_{label}" for label in NliLabel) == schema.PROBABILITIES
    assert list(NliLabel) == ["entailment", "neutral", "contradiction"]


@PROPERTY
@given(st.lists(st.integers(0, 9)))
def test_lengths_are_the_tokens_of_each_pair(lengths: list[int]) -> None:
    offsets = np.cumsum([0, *lengths])
    pairs = EncodedPairs(np.zeros(sum(lengths), np.int32), offsets, np.zeros(len(lengths), np.int32))
    assert pairs.lengths.tolist() == lengths
