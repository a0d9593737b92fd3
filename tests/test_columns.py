"""A run has one type for each column: all files widen to it, and what cannot is told with both files and both types."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pairs import pair_table, planned, surveyed, with_class_names, write_pairs

from albert_infer.errors import InputError, SettingsError
from albert_infer.read import decoding
from albert_infer.read.survey import Survey


def write(folder: Path, **columns: Any) -> None:
    """A file of one pair for each value of a column, called a.parquet, b.parquet and so on."""
    for place in range(len(next(iter(columns.values())))):
        pairs = pair_table(["a"], ["b"])
        for name, values in columns.items():
            if values[place] is not None:
                pairs = pairs.append_column(name, values[place])
        write_pairs(folder / f"{'abcdefgh'[place]}.parquet", pairs)


def read(survey: Survey) -> pa.Table:
    return pa.concat_tables(
        decoding.read_pairs(survey.folder, unit.pin, unit.range, survey.columns)
        for unit in planned(Path(survey.folder.uri), carry="all", id_column="none").units
    )


CATEGORY = pa.dictionary(pa.int32(), pa.string())
REQUIRED = pa.field("item", pa.int8(), nullable=False)
REQUIRED_FIELD = pa.field("a", pa.int32(), nullable=False)
NOTES: dict[str, tuple[list[pa.Array], pa.DataType, list[Any]]] = {
    "null, then text": ([pa.nulls(1), pa.array(["x"])], pa.string(), [None, "x"]),
    "widths": ([pa.array([1], pa.int32()), pa.array([2**40])], pa.int64(), [1, 2**40]),
    "large text": ([pa.array(["x"]), pa.array(["y"], pa.large_string())], pa.large_string(), ["x", "y"]),
    "view": ([pa.array(["x"], pa.string_view()), pa.array(["y"])], pa.string(), ["x", "y"]),
    "dictionaries": (
        [pa.array(["x"], pa.dictionary(pa.int8(), pa.string())), pa.array(["y"], CATEGORY)],
        CATEGORY,
        ["x", "y"],
    ),
    "child required": (
        [pa.array([[1]], pa.list_(REQUIRED)), pa.array([[None]], pa.list_(pa.int8()))],
        pa.list_(pa.int8()),
        [[1], [None]],
    ),
    "field order": (
        [pa.array([{"a": 1, "b": "x"}]), pa.array([{"b": "y", "a": 2}])],
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
    ),
    "required field, missing": (
        [pa.array([{"a": 1}], pa.struct([REQUIRED_FIELD])), None],
        pa.struct([("a", pa.int32())]),
        [{"a": 1}, None],
    ),
    "required field, null": (
        [pa.array([[{"a": 1}]], pa.list_(pa.struct([REQUIRED_FIELD]))), pa.nulls(1)],
        pa.list_(pa.struct([("a", pa.int32())])),
        [[{"a": 1}], None],
    ),
    "required field in a field that one lacks": (
        [pa.array([{"s": {"a": 1}, "b": 1}], pa.struct([("s", pa.struct([REQUIRED_FIELD])), ("b", pa.int8())])),
         pa.array([{"b": 2}], pa.struct([("b", pa.int8())]))],
        pa.struct([("s", pa.struct([("a", pa.int32())])), ("b", pa.int8())]),
        [{"s": {"a": 1}, "b": 1}, {"s": None, "b": 2}],
    ),
    "missing": ([None, pa.array([1.5])], pa.float64(), [None, 1.5]),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTES)
def test_all_files_widen_to_one_type_and_keep_their_values(tmp_path: Path, case: str) -> None:
    columns, kind, values = NOTES[case]
    for order in ([0, 1], [1, 0]):
        folder = tmp_path / str(order[0])
        write(folder, note=[columns[place] for place in order])
        survey = surveyed(folder, carry="all")
        assert survey.bad == ()
        rows = read(survey)
        assert rows.schema.field("note").type == survey.columns.carried[0].type
        assert rows["note"].to_pylist() == [values[place] for place in order]
        pq.write_table(rows, pa.BufferOutputStream())
        if not case.startswith(("field order", "required field in")):
            assert survey.columns.carried[0].type == kind


def test_times_of_one_zone_under_two_names_are_united(tmp_path: Path) -> None:
    write(tmp_path, note=[pa.array([1], pa.timestamp("ms", "UTC")), pa.array([1], pa.timestamp("ns", "+00:00"))])
    survey = surveyed(tmp_path, carry="note")
    assert (survey.bad, survey.columns.carried[0].type) == ((), pa.timestamp("ns", "UTC"))


def test_what_cannot_be_united_names_both_files_and_both_types(tmp_path: Path) -> None:
    write(tmp_path, note=[pa.nulls(1), pa.array([1], pa.int32()), pa.array([2]), pa.array(["x"]), pa.array([1.5])])
    survey = surveyed(tmp_path, carry="note")
    assert [bad.uri.rpartition("/")[2] for bad in survey.bad] == ["d.parquet", "e.parquet"]
    for bad, kind in zip(survey.bad, ("string", "double"), strict=True):
        assert bad.reason == "schema_type"
        remedy = "cast it in the file, or do not carry it"
        assert bad.detail == f"column `note` is {kind}, not int64 as in {tmp_path / 'c.parquet'}; {remedy}"


def test_another_type_that_widens_the_run_renames_its_units_and_one_that_does_not_leaves_them(tmp_path: Path) -> None:
    write(tmp_path, note=[pa.array([1]), pa.array([2])])
    before = {unit.unit_id for unit in planned(tmp_path, carry="all").units}
    write_pairs(tmp_path / "c.parquet", pair_table(["a"], ["b"]).append_column("note", pa.array([3], pa.int8())))
    after = planned(tmp_path, carry="all")
    assert len(after.units) == 3
    assert before < {unit.unit_id for unit in after.units}
    write_pairs(tmp_path / "d.parquet", pair_table(["a"], ["b"]).append_column("note", pa.array([3], pa.decimal128(5))))
    write_pairs(tmp_path / "0.parquet", pair_table(["a"], ["b"]).append_column("other", pa.array([3])))
    assert before.isdisjoint(unit.unit_id for unit in planned(tmp_path, carry="all").units)


def test_the_type_of_a_run_whose_files_agree_is_theirs_to_the_letter(tmp_path: Path) -> None:
    """It is in the names of the units, which must not change."""
    kinds = {
        "t": pa.timestamp("ns", "+00:00"),
        "d": pa.dictionary(pa.int8(), pa.string(), ordered=True),
        "m": pa.map_(pa.string(), pa.list_(REQUIRED)),
        "l": pa.large_string(),
    }
    pairs = pair_table([], [])
    for name, kind in kinds.items():
        pairs = pairs.append_column(name, pa.array([], kind))
    paths = [write_pairs(tmp_path / f"{name}.parquet", pairs) for name in "ab"]
    there = pq.read_schema(paths[0])
    assert planned(tmp_path, carry="all").recipe["types"] == [
        "string",
        "string",
        *(str(there.field(n).type) for n in kinds),
    ]


NAMES = ("entailment", "neutral", "contradiction")


def write_classes(folder: Path, names: tuple[str, ...], rows: int = 1) -> None:
    pairs = pair_table(["a"] * rows, ["b"] * rows).append_column("gold", pa.array([0] * rows, pa.int64()))
    write_pairs(folder, with_class_names(pairs, "gold", names) if names else pairs)


def test_names_of_numbers_that_all_files_agree_on_are_kept_and_rename_no_unit(tmp_path: Path) -> None:
    write_classes(tmp_path / "a.parquet", NAMES)
    write_classes(tmp_path / "b.parquet", NAMES)
    write_classes(tmp_path / "empty.parquet", NAMES[::-1], rows=0)
    survey = surveyed(tmp_path, carry="all")
    survey.refuse_mixed_classes()
    assert survey.columns.classes == (("gold", NAMES),)
    assert surveyed(tmp_path).columns.classes == ()
    assert "classes" not in planned(tmp_path, carry="all").recipe
    write_classes(tmp_path / "c.parquet", ())
    assert surveyed(tmp_path, carry="all").columns.classes == ()


def test_numbers_that_two_files_name_otherwise_are_refused_with_both_files_and_both_orders(tmp_path: Path) -> None:
    write_classes(tmp_path / "a.parquet", NAMES)
    write_classes(tmp_path / "b.parquet", NAMES[::-1])
    told = (
        r"--carry gold: \S+a\.parquet calls its numbers entailment, neutral, contradiction, "
        r"and \S+b\.parquet calls them contradiction, neutral, entailment; .*text"
    )
    for carry in ("all", "gold"):
        with pytest.raises(InputError, match=told):
            surveyed(tmp_path, carry=carry).refuse_mixed_classes()
    surveyed(tmp_path).refuse_mixed_classes()


def test_a_column_that_only_the_paths_hold_is_told(tmp_path: Path) -> None:
    write_pairs(tmp_path / "region=eu" / "year=2026" / "a.parquet", pair_table(["a"], ["b"]))
    assert surveyed(tmp_path, carry="all").in_paths == ("region", "year")
    assert surveyed(tmp_path).in_paths == ()
    with pytest.raises(SettingsError, match=r"`region` is in the paths .*--carry-source"):
        surveyed(tmp_path, carry="region")
    write_pairs(tmp_path / "b.parquet", pair_table(["a"], ["b"]).append_column("year", pa.array([2026])))
    assert surveyed(tmp_path, carry="all").in_paths == ("region",)


def test_a_named_column_may_come_first_in_any_file_and_must_be_in_all(tmp_path: Path) -> None:
    write(tmp_path, note=[None, pa.array(["x"])])
    survey = surveyed(tmp_path, carry="note")
    assert [(bad.uri.rpartition("/")[2], bad.reason) for bad in survey.bad] == [("a.parquet", "schema_missing")]


def test_ids_that_nobody_asked_for_are_left_out_with_none(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", pair_table(["a"], ["b"]).append_column("pair_id", pa.array([True])))
    assert [bad.reason for bad in surveyed(tmp_path).bad] == ["schema_id"]
    assert "--id-column none" in surveyed(tmp_path).bad[0].detail
    survey = surveyed(tmp_path, id_column="none", carry="all")
    assert (survey.bad, survey.columns.pair_id, survey.columns.carried) == ((), None, ())


IDS: dict[str, tuple[list[pa.Array], pa.DataType]] = {
    "uuid": ([pa.array([uuid4().bytes], pa.uuid())], pa.string()),
    "json": ([pa.array(['{"n": 1}'], pa.json_())], pa.string()),
    "floats": ([pa.array([7.0])], pa.string()),
    "integers, then floats": ([pa.array([7]), pa.array([8.0])], pa.int64()),
    "floats, then integers": ([pa.array([7.0]), pa.array([8], pa.int16())], pa.int64()),
    "texts and uuids": ([pa.array(["x"]), pa.array([uuid4().bytes], pa.uuid())], pa.string()),
}


@pytest.mark.parametrize("case", IDS)
def test_ids_of_other_types_are_taken_as_texts_or_as_the_integers_that_they_are(tmp_path: Path, case: str) -> None:
    columns, kind = IDS[case]
    write(tmp_path, pair_id=columns)
    survey = surveyed(tmp_path)
    assert (survey.bad, survey.columns.id_type) == ((), kind)


@pytest.mark.parametrize("ids", [pa.array([b"x"]), pa.array([True]), pa.array([0], pa.timestamp("us"))], ids=str)
def test_a_column_that_cannot_give_ids_says_what_they_may_be(tmp_path: Path, ids: pa.Array) -> None:
    remedy = "ids are texts or whole numbers; cast it to those, or take no ids with --id-column none"
    write(tmp_path, pair_id=[ids])
    (bad,) = surveyed(tmp_path).bad
    assert (bad.reason, bad.detail) == (
        "schema_id",
        f"column `pair_id` is {ids.type}, not a text or a whole number; {remedy}",
    )
    write(tmp_path, pair_id=[ids, pa.array(["x"])])
    (bad,) = surveyed(tmp_path).bad
    origin = tmp_path / "b.parquet"
    assert bad.detail == f"column `pair_id` is {ids.type}, not string as the ids of {origin}; {remedy}"


def test_a_long_type_does_not_cut_off_what_to_do(tmp_path: Path) -> None:
    wide = pa.array([None], pa.struct([(f"field{place}", pa.int8()) for place in range(99)]))
    write(tmp_path, note=[pa.array([1]), wide])
    (bad,) = surveyed(tmp_path, carry="note").bad
    assert bad.detail.endswith("; cast it in the file, or do not carry it")
    assert len(bad.detail) < 300


def seconds_for(folder: Path, columns: int) -> float:
    """The least processor time of three surveys of two files with so many columns, all carried, numbers with names."""
    names = [f"c{n}" for n in range(columns)]
    features = {name: {"names": ["no", "yes"], "_type": "ClassLabel"} for name in names}
    pairs = pa.table(
        {"premise": ["a"], "hypothesis": ["b"], **{name: [1] for name in names}},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    for name in ("a.parquet", "b.parquet"):
        write_pairs(folder / name, pairs)
    times = []
    for _ in range(3):
        begun = time.process_time()
        assert len(surveyed(folder, carry="all").columns.carried) == columns
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.computes
def test_a_survey_of_many_columns_takes_as_much_longer_as_there_are_more(tmp_path: Path) -> None:
    # Eight times for eight times as many; sixty-four where each column is looked for among all.
    assert seconds_for(tmp_path / "many", 800) < 24 * seconds_for(tmp_path / "few", 100)
