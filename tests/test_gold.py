"""Gold sets: every row is read once, with its gold label or the mark that it has none; bad ones are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pairs import pair_table, with_class_names, write_pairs

from albert_infer.errors import InputError, NoInputError
from albert_infer.preflight.gold import GOLD, NO_GOLD, GoldColumns, gold_codes, read_slice, survey_gold
from albert_infer.schema import HYPOTHESIS, PREMISE, REJECTION, NliLabel

PAIR = [PREMISE, HYPOTHESIS]


def gold_pairs(labels: Sequence[str | None]) -> pa.Table:
    pairs = pair_table([f"a man plays {row}" for row in range(len(labels))], ["the dog sleeps"] * len(labels))
    return pairs.append_column("gold_label", pa.array(labels, pa.string()))


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["entailment", " Neutral", "CONTRADICTION", "-", "", None]),
        pa.array(["entailment", "neutral", "contradiction", "-", "-", None]).dictionary_encode(),
        pa.array([0, 1, 2, -1, -1, None], pa.int64()),
        pa.array([0, 1, 2, -1, -1, None], pa.int8()),
        # As pandas has integers with a hole.
        pa.array([0, 1, 2, -1, float("nan"), None], pa.float64()),
        pa.array([0, 1, 2, -1, -1, None], pa.float32()),
        pa.array(["0", "1", "2", "-1", "-", None], pa.large_string()),
        # As Arrow reads Parquet's ENUM, and pandas's categories and Polars's enums.
        pa.array([b"entailment", b"neutral", b"contradiction", b"-", b"", None], pa.binary()),
        pa.array(["entailment", "neutral", "contradiction", "-", "-", None], pa.large_string()).dictionary_encode(),
    ],
    ids=lambda labels: str(labels.type),
)
def test_names_and_numbers_mean_the_same_labels(labels: pa.Array) -> None:
    codes = gold_codes(pa.chunked_array([labels[:2], labels[2:]]), "here")
    assert codes.tolist() == [*range(len(NliLabel)), NO_GOLD, NO_GOLD, NO_GOLD]


@pytest.mark.parametrize("label", ["entails", "3", "label_0"])
def test_a_value_that_is_no_label_is_named(label: str) -> None:
    with pytest.raises(InputError, match=f"`{label}`.*use entailment, neutral, contradiction, or 0, 1, 2"):
        gold_codes(pa.chunked_array([["neutral", label]]), "here")


def test_labels_of_another_type_are_refused() -> None:
    with pytest.raises(InputError, match="type bool"):
        gold_codes(pa.chunked_array([[True, False]]), "here")
    for score in (0.5, float("inf")):
        with pytest.raises(InputError, match="type double that are not whole numbers"):
            gold_codes(pa.chunked_array([[0.0, score]]), "here")


def test_whole_floats_mean_what_the_file_says_that_its_numbers_mean(tmp_path: Path) -> None:
    pairs = numbered([0, 1, 2, None], CONTRADICTION_FIRST)
    field = pa.field("gold_label", pa.float64())
    write_pairs(tmp_path / "a.parquet", pairs.set_column(2, field, pairs["gold_label"].cast(pa.float64())))
    assert read_codes(tmp_path) == [2, 0, 1, NO_GOLD]


CONTRADICTION_FIRST = ("contradiction", "entailment", "neutral")


def numbered(numbers: Sequence[int | None], names: Sequence[str] = ()) -> pa.Table:
    """Pairs whose gold labels are numbers, named as a ClassLabel where there are names."""
    pairs = pair_table([f"a man plays {row}" for row in range(len(numbers))], ["the dog sleeps"] * len(numbers))
    pairs = pairs.append_column("gold_label", pa.array(numbers, pa.int64()))
    return with_class_names(pairs, "gold_label", names) if names else pairs


def read_codes(folder: Path) -> list[int]:
    gold = survey_gold("--gold", str(folder), GoldColumns())
    return [code for piece in gold.slices for code in read_slice(gold, piece)[GOLD].to_pylist()]


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        (CONTRADICTION_FIRST, [2, 0, 1]),
        (("entailment", "contradiction", "neutral"), [0, 2, 1]),
        (("Contradiction", "ENTAILMENT", "Neutral"), [2, 0, 1]),
        (("REFUTES", "NOT ENOUGH INFO", "SUPPORTS"), [2, 1, 0]),
        (("0", "1", "2"), [0, 1, 2]),
        (("entailment", "-", "contradiction", "neutral"), [0, NO_GOLD, 2]),
    ],
)
def test_numbers_mean_what_the_file_says_that_they_mean(
    tmp_path: Path, names: tuple[str, ...], codes: list[int]
) -> None:
    write_pairs(tmp_path / "a.parquet", numbered([0, 1, 2, -1, None], names))
    assert read_codes(tmp_path) == [*codes, NO_GOLD, NO_GOLD]


def test_each_file_of_a_gold_set_is_read_by_its_own_names(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered([0, 1, 2], CONTRADICTION_FIRST))
    write_pairs(tmp_path / "b.parquet", numbered([0, 1, 2], ("entailment", "neutral", "contradiction")))
    assert read_codes(tmp_path) == [2, 0, 1, 0, 1, 2]
    classes = survey_gold("--train", str(tmp_path), GoldColumns()).classes
    assert classes == [CONTRADICTION_FIRST, ("entailment", "neutral", "contradiction")]
    write_pairs(tmp_path / "a.parquet", numbered([0], ("neutral", "entailment", "contradiction")))
    write_pairs(tmp_path / "c.parquet", numbered([]))
    assert read_codes(tmp_path) == [1, 0, 1, 2], "an empty file without names says nothing"


@pytest.mark.parametrize(
    "names",
    [("not_entailment", "entailment"), ("entailment", "contradiction"), ("a", "b", "c"), ("entailment",) * 3],
)
def test_classes_that_are_not_the_three_labels_are_refused_by_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_pairs(tmp_path / "a.parquet", numbered([0, 1], names))
    told = rf"--gold .* with column `gold_label`: numbers of {len(names)} classes: {', '.join(names)}; give each pair"
    with pytest.raises(InputError, match=told):
        survey_gold("--gold", str(tmp_path), GoldColumns())


def test_a_file_without_names_beside_one_with_another_order_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered([0, 1, 2], CONTRADICTION_FIRST))
    write_pairs(tmp_path / "b.parquet", numbered([0, 1, 2]))
    told = r"a\.parquet names its numbers contradiction, .*b\.parquet has no names for its numbers; write the labels"
    with pytest.raises(InputError, match=told):
        survey_gold("--gold", str(tmp_path), GoldColumns())
    write_pairs(tmp_path / "a.parquet", numbered([0, 1, 2], ("entailment", "neutral", "contradiction")))
    assert read_codes(tmp_path) == [0, 1, 2, 0, 1, 2]


def test_a_number_beyond_the_names_is_no_label(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered([0, 3], CONTRADICTION_FIRST))
    with pytest.raises(InputError, match=r"the gold label `3`; use .*one of its classes contradiction, entailment"):
        read_codes(tmp_path)


@pytest.mark.parametrize(
    "told",
    ["", "{", "[]", '{"info": 3}', '{"info": {"features": {"gold_label": {"_type": "ClassLabel", "names": 3}}}}'],
)
def test_metadata_that_says_nothing_about_the_numbers_leaves_them_as_they_are(tmp_path: Path, told: str) -> None:
    write_pairs(tmp_path / "a.parquet", numbered([0, 1, 2]).replace_schema_metadata({"huggingface": told}))
    assert read_codes(tmp_path) == [0, 1, 2]


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InputError, match="gold labels that are not UTF-8"):
        gold_codes(pa.chunked_array([pa.array([b"\xff"])]), "here")


def test_every_row_of_a_gold_set_is_in_one_slice(tmp_path: Path) -> None:
    labels = [str(label) for label in NliLabel] * 7
    write_pairs(tmp_path / "b.parquet", gold_pairs(labels[:10]), row_group_size=3)
    write_pairs(tmp_path / "a.parquet", gold_pairs(labels[10:]), row_group_size=100)
    gold = survey_gold("--gold", str(tmp_path), GoldColumns(), slice_rows=4)
    read = [read_slice(gold, piece) for piece in gold.slices]
    codes = [code for table in read for code in table[GOLD].to_pylist()]
    assert gold.rows == len(codes) == 21
    assert codes == [list(NliLabel).index(NliLabel(label)) for label in labels[10:] + labels[:10]]
    assert max(table.num_rows for table in read) <= 4
    assert [Path(str(uri)).name for uri, _, _ in gold.pins] == ["a.parquet", "b.parquet"]


def test_a_row_that_the_job_would_reject_keeps_its_place(tmp_path: Path) -> None:
    pairs = pair_table(["a man", None], ["a dog", "a dog"]).append_column("gold_label", pa.array([2, 1]))
    gold = survey_gold("--gold", str(write_pairs(tmp_path / "g.parquet", pairs)), GoldColumns())
    read = read_slice(gold, gold.slices[0])
    assert read[REJECTION].to_pylist() == [None, "null_text"]
    assert read[GOLD].to_pylist() == [2, 1]


def test_other_columns_are_kept_when_asked_for_and_names_may_differ(tmp_path: Path) -> None:
    pairs = gold_pairs(["neutral"]).rename_columns(["sentence1", "sentence2", "label"])
    pairs = pairs.append_column("genre", pa.array(["fiction"]))
    columns = GoldColumns("label", "sentence1", "sentence2", extra=("genre", "label"))
    gold = survey_gold("--gold", str(write_pairs(tmp_path / "g.parquet", pairs)), columns)
    read = read_slice(gold, gold.slices[0])
    assert read.select([PREMISE, "genre", GOLD]).to_pylist() == [
        {PREMISE: "a man plays 0", "genre": "fiction", GOLD: 1}
    ]


def test_a_gold_set_may_come_from_any_writer_and_its_ids_are_nobodys(tmp_path: Path) -> None:
    pairs = gold_pairs(["neutral", "entailment"])
    pq.write_table(pairs, tmp_path / "a.parquet", use_dictionary=False, column_encoding=dict.fromkeys(
        pairs.column_names, "DELTA_BYTE_ARRAY"
    ))  # fmt: skip
    views = pa.table([column.cast(pa.string_view()) for column in pairs.columns], names=pairs.column_names)
    write_pairs(tmp_path / "b.parquet", views.append_column("pair_id", pa.array([1.5, 2.5])))
    gold = survey_gold("--gold", str(tmp_path), GoldColumns())
    assert [code for piece in gold.slices for code in read_slice(gold, piece)[GOLD].to_pylist()] == [1, 0, 1, 0]


def test_gold_labels_may_be_called_label_in_any_case(tmp_path: Path) -> None:
    for name in ("label", "Label"):
        path = write_pairs(tmp_path / name / "a.parquet", gold_pairs(["neutral"]).rename_columns([*PAIR, name]))
        assert survey_gold("--gold", str(path), GoldColumns(name)).rows == 1


def test_a_gold_set_without_the_gold_column_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "g.parquet", pair_table(["a man"], ["a dog"]))
    with pytest.raises(InputError, match=r"--train .* with column `gold_label`: .*no `gold_label`, but premise"):
        survey_gold("--train", str(tmp_path), GoldColumns())


def test_a_gold_set_with_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", gold_pairs(["neutral"]))
    broken = write_pairs(tmp_path / "b.parquet", gold_pairs(["neutral"]))
    broken.write_bytes(broken.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"--gold with .*b\.parquet: bad_footer"):
        survey_gold("--gold", str(tmp_path), GoldColumns())


def test_a_gold_set_whose_texts_are_called_otherwise_is_refused_with_the_columns_that_are_there(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", gold_pairs(["neutral"]).rename_columns(["left", "hypothesis", "gold_label"]))
    told = r"--gold .*no file has a column `premise`; .* `left`, `hypothesis`, `gold_label`; .*--premise-column"
    with pytest.raises(InputError, match=told):
        survey_gold("--gold", str(tmp_path), GoldColumns())


def test_a_gold_set_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        survey_gold("--gold", str(write_pairs(tmp_path / "g.parquet", gold_pairs([]))), GoldColumns())


def test_a_gold_set_that_is_not_there_is_told_as_the_flags_and_not_as_an_input_that_may_be_missing(
    tmp_path: Path,
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no pairs")
    for name in ("nowhere", "texts"):
        with pytest.raises(InputError, match=r"--gold .*give pairs with gold labels") as refused:
            survey_gold("--gold", str(tmp_path / name), GoldColumns())
        assert not isinstance(refused.value, NoInputError)
