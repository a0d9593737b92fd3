"""A unit becomes durable whole, once, and its objects say what they hold."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import FILE_PROPERTY, labelled_unit, numbered_pairs

from albert_infer import schema, storage
from albert_infer.errors import IntegrityError
from albert_infer.output import commit
from albert_infer.output.commit import Source, UnitSummary, commit_unit, read_summary
from albert_infer.output.layout import quarantine_name, staged_name, staged_rejected_name
from albert_infer.read.class_names import class_names
from albert_infer.schema import PairColumns, Rejection
from albert_infer.storage import Folder

IDS = PairColumns(pair_id="pair_id", id_type=pa.string())
TOPIC = PairColumns(pair_id="pair_id", id_type=pa.string(), carried=(pa.field("topic", pa.int64()),), with_source=True)
UNIT = "0123456789abcdef"
MIXED = (None, Rejection.NULL_TEXT, None, Rejection.BAD_UTF8, Rejection.NULL_TEXT)


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return storage.open_folder(str(tmp_path / "out"))


def source(rows: int = 5) -> Source:
    return Source("s3://in/a.parquet", 100, rows)


def mixed_unit(columns: PairColumns = IDS) -> pa.Table:
    pairs = numbered_pairs(len(MIXED)).append_column("topic", pa.array(range(len(MIXED)), pa.int64()))
    return labelled_unit(UNIT, pairs, MIXED, columns)


def read(output: Folder, name: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(output.read(name)))


def names(output: Folder) -> list[str]:
    return [pin.name for pin in output.objects()]


def summary_of(output: Folder, name: str) -> UnitSummary:
    summary = read_summary(output.read(name))
    assert summary is not None
    return summary


@FILE_PROPERTY
@given(rejections=st.lists(st.one_of(st.none(), st.sampled_from(Rejection)), min_size=1, max_size=30))
def test_every_row_is_in_exactly_one_object_in_order_and_counted(rejections: list[Rejection | None]) -> None:
    with TemporaryDirectory() as folder:
        output = storage.open_folder(folder)
        pairs = numbered_pairs(len(rejections))
        commit_unit(output, UNIT, source(len(rejections)), labelled_unit(UNIT, pairs, rejections, IDS), IDS)
        good = [row for row, rejection in enumerate(rejections) if rejection is None]
        bad = [row for row, rejection in enumerate(rejections) if rejection is not None]
        labelled = read(output, staged_name(UNIT))
        assert labelled["pair_id"].to_pylist() == [f"id{row}" for row in good]
        assert labelled["premise"].to_pylist() == [f"a man plays {row}" for row in good]
        if bad:
            rejected = read(output, staged_rejected_name(UNIT))
            assert rejected["source_row"].to_pylist() == [100 + row for row in bad]
            assert rejected["rejection"].to_pylist() == [rejections[row] for row in bad]
        summary = summary_of(output, staged_name(UNIT))
        assert (summary.rows_in, summary.labelled, summary.rejected_rows) == (len(rejections), len(good), len(bad))
        assert summary.labels == Counter(labelled["label"].to_pylist())
        assert summary.rejected == Counter(rejections[row] for row in bad)
        assert summary.tokens == sum(labelled["n_tokens"].to_pylist())
        assert summary.truncated == sum(labelled["truncated"].to_pylist())


def test_a_file_of_labels_has_the_promised_columns(output: Folder) -> None:
    commit_unit(output, UNIT, source(), mixed_unit(TOPIC), TOPIC)
    labelled = read(output, staged_name(UNIT))
    assert labelled.schema.remove_metadata().equals(TOPIC.labelled)
    assert labelled.column_names == [
        "pair_id", "premise", "hypothesis", "topic", "source_file", "source_row",
        "label", "p_entailment", "p_neutral", "p_contradiction", "n_tokens", "truncated",
    ]  # fmt: skip
    assert labelled.select(["source_file", "source_row", "topic"]).to_pylist() == [
        {"source_file": "s3://in/a.parquet", "source_row": 100, "topic": 0},
        {"source_file": "s3://in/a.parquet", "source_row": 102, "topic": 2},
    ]


def test_a_file_of_rejected_rows_says_where_each_came_from_and_why(output: Folder) -> None:
    commit_unit(output, UNIT, source(), mixed_unit(TOPIC), TOPIC)
    rejected = read(output, staged_rejected_name(UNIT))
    assert rejected.schema.remove_metadata().equals(TOPIC.rejected)
    assert rejected.to_pylist()[0] == {
        "pair_id": "id1",
        "topic": 1,
        "source_file": "s3://in/a.parquet",
        "source_row": 101,
        "rejection": "null_text",
        "detail": "why",
    }


def test_a_unit_without_rejected_rows_has_one_object(output: Folder) -> None:
    commit_unit(output, UNIT, source(), labelled_unit(UNIT, numbered_pairs(5), [None] * 5, IDS), IDS)
    assert names(output) == [staged_name(UNIT)]


def test_a_unit_of_rejected_rows_alone_still_has_its_part(output: Folder) -> None:
    rejections = [Rejection.EMPTY_TEXT] * 5
    commit_unit(output, UNIT, source(), labelled_unit(UNIT, numbered_pairs(5), rejections, IDS), IDS)
    assert names(output) == [staged_name(UNIT), staged_rejected_name(UNIT)]
    assert read(output, staged_name(UNIT)).num_rows == 0


def test_a_part_never_stands_without_its_rejected_rows(output: Folder) -> None:
    output.put_if_absent(staged_rejected_name(UNIT), b"in the way")
    with pytest.raises(IntegrityError):
        commit_unit(output, UNIT, source(), mixed_unit(), IDS)
    assert names(output) == [staged_rejected_name(UNIT)]


def test_the_pages_carry_checksums(output: Folder) -> None:
    commit_unit(output, UNIT, source(), mixed_unit(), IDS)
    data = bytearray(output.read(staged_name(UNIT)))
    column = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata.row_group(0).column(1)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        pq.read_table(pa.BufferReader(bytes(data)), page_checksum_verification=True)


def test_committing_a_unit_again_changes_nothing(output: Folder) -> None:
    commit_unit(output, UNIT, source(), mixed_unit(), IDS)
    before = {name: output.read(name) for name in names(output)}
    # Another device may give other probabilities; the first writer wins.
    again = mixed_unit()
    again = again.set_column(again.column_names.index("p_neutral"), "p_neutral", pa.array([0.5] * 5, pa.float32()))
    commit_unit(output, UNIT, source(), again, IDS)
    assert {name: output.read(name) for name in names(output)} == before


def test_a_commit_goes_on_where_an_earlier_one_stopped(output: Folder) -> None:
    commit_unit(output, UNIT, source(), mixed_unit(), IDS)
    output.delete([staged_name(UNIT)])
    commit_unit(output, UNIT, source(), mixed_unit(), IDS)
    assert names(output) == [staged_name(UNIT), staged_rejected_name(UNIT)]


@pytest.mark.parametrize("other", [b"not ours", b""])
def test_something_else_under_the_name_of_a_unit_is_an_integrity_error(output: Folder, other: bytes) -> None:
    output.put_if_absent(staged_name(UNIT), other)
    with pytest.raises(IntegrityError, match=staged_name(UNIT)):
        commit_unit(output, UNIT, source(), labelled_unit(UNIT, numbered_pairs(5), [None] * 5, IDS), IDS)
    assert output.read(staged_name(UNIT)) == other


@pytest.mark.parametrize("rejections", [[None] * 6, [Rejection.NULL_TEXT, *[None] * 4]])
def test_another_unit_under_the_name_of_a_unit_is_an_integrity_error(
    output: Folder, rejections: list[Rejection | None]
) -> None:
    rows = len(rejections)
    commit_unit(output, UNIT, source(rows), labelled_unit(UNIT, numbered_pairs(rows), rejections, IDS), IDS)
    with pytest.raises(IntegrityError, match=staged_name(UNIT)):
        commit_unit(output, UNIT, source(), labelled_unit(UNIT, numbered_pairs(5), [None] * 5, IDS), IDS)


def test_a_unit_that_is_broken_short_or_out_of_order_is_an_integrity_error(output: Folder) -> None:
    whole = mixed_unit()
    other = labelled_unit("fedcba9876543210", numbered_pairs(5), MIXED, IDS)
    for rows in (
        whole.slice(0, 0),
        whole.slice(0, 4),
        whole.slice(1),
        whole.take([1, 0, 2, 3, 4]),
        whole.take([0, 1, 2, 3, 3]),
        pa.concat_tables([whole, whole]),
        pa.concat_tables([whole.slice(0, 3), other.slice(3)]),
        other,
    ):
        with pytest.raises(IntegrityError, match=UNIT):
            commit_unit(output, UNIT, source(), rows, IDS)
    assert names(output) == []


def test_an_unreadable_unit_is_marked_with_its_reason_and_rows(output: Folder) -> None:
    marker = pa.table(
        {
            schema.UNIT: [UNIT],
            schema.UNIT_QUARANTINE: ["bad_page"],
            schema.DETAIL: ["the page is damaged"],
        }
    )
    for _ in range(2):
        commit_unit(output, UNIT, source(), marker, IDS)
    assert names(output) == [quarantine_name(UNIT)]
    told = json.loads(output.read(quarantine_name(UNIT)))
    assert (told["unit_id"], told["reason"], told["detail"]) == (UNIT, "bad_page", "the page is damaged")
    assert (told["uri"], told["first_row"], told["rows"]) == ("s3://in/a.parquet", 100, 5)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all"])
def test_what_is_not_ours_has_no_summary(data: bytes) -> None:
    assert read_summary(data) is None


def test_a_parquet_file_that_is_not_ours_has_no_summary() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(numbered_pairs(3), sink)
    assert read_summary(sink.getvalue().to_pybytes()) is None


def test_labelled_rows_without_an_id_or_with_one_twice_are_counted(output: Folder) -> None:
    ids = ["a", None, "b", "a", None, "a", "c", "c"]
    rejections = [None, None, None, None, None, None, Rejection.NULL_TEXT, None]
    pairs = numbered_pairs(len(ids)).set_column(0, "pair_id", pa.array(ids))
    commit_unit(output, UNIT, source(len(ids)), labelled_unit(UNIT, pairs, rejections, IDS), IDS)
    summary = summary_of(output, staged_name(UNIT))
    assert (summary.null_ids, summary.duplicate_ids, summary.labelled) == (2, 2, 7)
    assert UnitSummary("x", 1, 1, {}, {}, 5, 0) == UnitSummary("x", 1, 1, {}, {}, 5, 0, null_ids=0, duplicate_ids=0)


def test_rows_that_need_review_are_counted_where_the_column_is_ours(output: Folder) -> None:
    unsure = pa.array([True, None, False, None, True, True])
    rejections = [None, Rejection.NULL_TEXT, None, Rejection.NULL_TEXT, None, None]
    rows = labelled_unit(UNIT, numbered_pairs(6), rejections, IDS).append_column("needs_review", unsure)
    asked = replace(IDS, review_below=0.5)
    commit_unit(output, UNIT, source(6), rows, asked)
    assert summary_of(output, staged_name(UNIT)).needs_review == 3
    assert read(output, staged_name(UNIT))["needs_review"].to_pylist() == [True, False, True, True]
    assert commit.summarise(UNIT, rows, IDS).needs_review == 0, "a carried column of that name is the input's"


def test_labelled_rows_in_several_windows_are_counted_where_the_column_is_ours(output: Folder) -> None:
    windows = pa.array([1, 4, 2, 0, 3], pa.int32())
    rejections = [None, Rejection.NONFINITE_LOGITS, None, Rejection.NULL_TEXT, None]
    rows = labelled_unit(UNIT, numbered_pairs(5), rejections, IDS).append_column("n_windows", windows)
    commit_unit(output, UNIT, source(5), rows, replace(IDS, with_windows=True))
    assert summary_of(output, staged_name(UNIT)).windowed == 2
    assert read(output, staged_name(UNIT))["n_windows"].to_pylist() == [1, 2, 3]
    assert commit.summarise(UNIT, rows, IDS).windowed == 0, "a carried column of that name is the input's"


def test_an_object_of_a_version_that_did_not_count_ids_still_tells_what_it_holds(output: Folder) -> None:
    table = numbered_pairs(2)
    told: dict[str, Any] = {
        "unit_id": UNIT,
        "rows_in": 2,
        "labelled": 2,
        "rejected": {},
        "labels": {},
        "tokens": 9,
        "truncated": 0,
    }
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({commit.SUMMARY_KEY: json.dumps(told)}), sink)
    assert read_summary(sink.getvalue().to_pybytes()) == UnitSummary(**told)


def test_a_rejected_row_may_have_null_above_a_required_field(output: Folder) -> None:
    """A carried value with a text that is not UTF-8 is null there."""
    kind = pa.struct([pa.field("text", pa.string(), nullable=False)])
    column = pa.array([{"text": "x"}] * len(MIXED), kind).take(pa.array([0, None, 2, None, 4]))
    columns = replace(IDS, carried=(pa.field("about", kind),))
    unit = labelled_unit(UNIT, numbered_pairs(len(MIXED)).append_column("about", column), MIXED, columns)
    assert commit_unit(output, UNIT, source(), unit, columns) is not None
    assert read(output, staged_name(UNIT)).schema.field("about").type == kind
    assert read(output, staged_rejected_name(UNIT))["about"].to_pylist() == [None, None, {"text": "x"}]


def test_what_the_numbers_of_a_carried_column_mean_is_in_both_files(output: Folder) -> None:
    names = ("entailment", "neutral", "contradiction")
    columns = replace(TOPIC, classes=(("topic", names),))
    assert commit_unit(output, UNIT, source(), mixed_unit(columns), columns) is not None
    for name in (staged_name(UNIT), staged_rejected_name(UNIT)):
        assert class_names(read(output, name).schema, ["topic"]) == {"topic": names}
        assert summary_of(output, name).unit_id == UNIT
