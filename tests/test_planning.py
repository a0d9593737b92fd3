"""Every object is read, quarantined or ignored by rule; units have the names of what decides their labels."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bad_files import pickled_objects
from hypothesis import given
from hypothesis import strategies as st
from pairs import PROPERTY, RECIPE, numbered_pairs, pair_table, planned, settings_for, surveyed, write_pairs

from albert_infer.errors import InputError, LeftOutError, NoInputError, SettingsError
from albert_infer.read.footers import RowRange
from albert_infer.read.planning import Plan, canonical_json, unit_ranges

ROW_GROUPS = st.lists(st.integers(0, 40), max_size=12)


def unit_ids(plan: Plan) -> list[str]:
    return [unit.unit_id for unit in plan.units]


def bad_reasons(source: Path, **settings: object) -> dict[str, str]:
    return {bad.uri.rpartition("/")[2]: bad.reason for bad in surveyed(source, **settings).bad}


@PROPERTY
@given(row_groups=ROW_GROUPS, unit_rows=st.integers(1, 25))
def test_units_hold_every_row_of_a_file_once_in_order_and_at_most_unit_rows(
    row_groups: list[int], unit_rows: int
) -> None:
    units = list(unit_ranges(row_groups, unit_rows))
    rows = [row for unit in units for row in range(unit.first_row, unit.first_row + unit.rows)]
    assert rows == list(range(sum(row_groups)))
    assert all(1 <= unit.rows <= unit_rows for unit in units)


@PROPERTY
@given(row_groups=ROW_GROUPS, unit_rows=st.integers(1, 25))
def test_units_say_in_which_row_groups_their_rows_are(row_groups: list[int], unit_rows: int) -> None:
    for unit in unit_ranges(row_groups, unit_rows):
        assert unit.first_row == sum(row_groups[: unit.first_group]) + unit.skip
        assert unit.skip + unit.rows <= sum(row_groups[unit.first_group : unit.last_group + 1])
        assert unit.skip == 0 or unit.first_group == unit.last_group


def test_row_groups_go_together_up_to_unit_rows_and_huge_ones_are_cut() -> None:
    assert list(unit_ranges([4, 6, 4, 25, 3], 10)) == [
        RowRange(0, 10, 0, 1, 0),
        RowRange(10, 4, 2, 2, 0),
        RowRange(14, 10, 3, 3, 0),
        RowRange(24, 10, 3, 3, 10),
        RowRange(34, 5, 3, 3, 20),
        RowRange(39, 3, 4, 4, 0),
    ]


def test_every_object_is_read_quarantined_or_ignored_by_a_rule(tmp_path: Path) -> None:
    readable = ["_day=1/x=2/f.parquet", "a.parquet", "b.pq", "deep/er/c.parquet", "no extension", "part.snappy"]
    for name in [*readable, "_hidden/d.parquet", "deep/.e.parquet", "_SUCCESS", "a.parquet.bak", "part.snappy~"]:
        write_pairs(tmp_path / name, numbered_pairs(2))
    for name, data in {
        "notes.txt": b"PAR",
        "empty": b"",
        "empty.parquet": b"",
        "x.parquet": b"text",
        "y.bin": b"PAR1!",
        "secret": b"PARE....",
    }.items():
        (tmp_path / name).write_bytes(data)
    survey = surveyed(tmp_path)
    assert [file.pin.name for file in survey.files] == sorted(readable)
    assert {bad.uri.rpartition("/")[2]: bad.reason for bad in survey.bad} == {
        "empty.parquet": "empty_object",
        "x.parquet": "not_parquet",
        "y.bin": "bad_footer",
        "secret": "encrypted",
    }
    assert survey.ignored == {
        "_SUCCESS": "hidden",
        "_hidden/d.parquet": "hidden",
        "a.parquet.bak": "copy",
        "part.snappy~": "copy",
        "deep/.e.parquet": "hidden",
        "empty": "not_parquet",
        "notes.txt": "not_parquet",
    }


def test_a_file_that_was_named_is_input_whatever_its_name(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "_today.dat", numbered_pairs(2))
    write_pairs(tmp_path / "other.parquet", numbered_pairs(2))
    assert [file.pin.name for file in surveyed(path).files] == ["_today.dat"]


@pytest.mark.parametrize("name", ["notes.txt", "_a.parquet", "a.parquet.bak", "_temporary/0/a.parquet", "a.parquet.gz"])
def test_a_folder_whose_objects_are_all_left_out_is_not_an_empty_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    for other in (name, "_SUCCESS"):
        (tmp_path / other).write_bytes(b"text")
    with pytest.raises(LeftOutError, match=f"all objects are left out: .*first {re.escape(name)}"):
        surveyed(tmp_path)


def test_a_folder_with_marks_alone_is_empty(tmp_path: Path) -> None:
    for name, data in (("_SUCCESS", b""), ("_committed_12", b"{}"), ("empty.csv", b""), ("._SUCCESS.crc", b"crc")):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(NoInputError, match="no Parquet file, but 4 marks and empty objects"):
        surveyed(tmp_path)


@pytest.mark.parametrize(
    ("names", "columns", "reason"),
    [
        (["pair_id", "premise", "Hypothesis"], [["i"], ["a"], ["b"]], "schema_missing"),
        (["pair_id", "premise", "hypothesis"], [["i"], [1], ["b"]], "schema_type"),
        (["pair_id", "premise", "premise", "hypothesis"], [["i"], ["a"], ["a"], ["b"]], "schema_duplicate_column"),
        (["pair_id", "pair_id", "premise", "hypothesis"], [["i"], ["j"], ["a"], ["b"]], "schema_duplicate_column"),
        (["pair_id", "premise", "hypothesis"], [["i"], pa.array(["{}"], pa.json_()), ["b"]], "schema_extension"),
        (["premise", "hypothesis"], [["a"], ["b"]], "schema_missing"),
        (["pair_id", "premise", "hypothesis"], [[True], ["a"], ["b"]], "schema_id"),
    ],
)
@pytest.mark.parametrize("name", ["a.parquet", "z.parquet"])
def test_a_file_that_does_not_fit_is_quarantined_and_the_others_go_on(
    tmp_path: Path, names: list[str], columns: list[Any], reason: str, name: str
) -> None:
    for good in ("m.parquet", "n.parquet"):
        write_pairs(tmp_path / good, numbered_pairs(3))
    write_pairs(tmp_path / name, pa.table(columns, names=names))
    assert bad_reasons(tmp_path) == {name: reason}
    assert [file.pin.name for file in surveyed(tmp_path).files] == ["m.parquet", "n.parquet"]


def test_a_file_whose_column_to_carry_is_an_extension_does_not_decide_its_type(tmp_path: Path) -> None:
    texts = pair_table(["a"], ["b"])
    for name, notes in (("a.parquet", pickled_objects(tmp_path / "marker", 1)), ("b.parquet", pa.array(["x"]))):
        write_pairs(tmp_path / name, texts.append_column("notes", notes))
    unregistered = pa.field("notes", pa.int64(), metadata={"ARROW:extension:name": "example.unknown"})
    write_pairs(tmp_path / "0.parquet", texts.append_column(unregistered, pa.array([1])))
    quarantined = dict.fromkeys(["0.parquet", "a.parquet"], "schema_extension")
    assert bad_reasons(tmp_path, carry="notes") == quarantined
    assert bad_reasons(tmp_path) == {}


def test_the_first_readable_file_decides_the_type_of_the_ids(tmp_path: Path) -> None:
    texts = pair_table(["a"], ["b"])
    for name, number in (("b.parquet", pa.array([7])), ("c.parquet", pa.array(["7"])), ("d.parquet", pa.nulls(1))):
        write_pairs(tmp_path / name, texts.append_column("pair_id", number))
    assert bad_reasons(tmp_path) == {"c.parquet": "schema_id"}
    write_pairs(tmp_path / "a.parquet", texts.append_column("pair_id", pa.array(["8"])))
    assert bad_reasons(tmp_path) == {"b.parquet": "schema_id"}


@pytest.mark.parametrize("ids", [[True], [b"raw"]])
def test_ids_that_are_none_anywhere_quarantine_their_files_and_not_the_run(tmp_path: Path, ids: list[Any]) -> None:
    write_pairs(tmp_path / "a.parquet", pair_table(["a"], ["b"]).append_column("pair_id", pa.array(ids)))
    plan = planned(tmp_path)
    assert [bad.reason for bad in plan.bad] == ["schema_id"]
    assert plan.units == ()


def test_an_id_column_that_was_named_must_be_in_every_file(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", pair_table(["a"], ["b"]))
    assert [bad.reason for bad in planned(tmp_path, id_column="key").bad] == ["schema_missing"]
    assert bad_reasons(tmp_path) == {}
    write_pairs(tmp_path / "b.parquet", pair_table(["a"], ["b"]).append_column("key", pa.array(["k"])))
    assert bad_reasons(tmp_path, id_column="key") == {"a.parquet": "schema_missing"}


def test_integer_ids_become_int64(tmp_path: Path) -> None:
    for name, kind in (("a.parquet", pa.int32()), ("b.parquet", pa.int64())):
        write_pairs(tmp_path / name, pair_table(["a"], ["b"]).append_column("pair_id", pa.array([1], kind)))
    survey = surveyed(tmp_path)
    assert (survey.columns.id_type, survey.bad) == (pa.int64(), ())


def test_a_file_without_rows_is_accepted(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(0))
    plan = planned(tmp_path)
    assert ([file.rows for file in plan.files], plan.units, plan.bad, plan.rows_in) == ([0], (), (), 0)


def test_a_file_without_rows_is_taken_whatever_its_types_are_and_decides_none(tmp_path: Path) -> None:
    full = numbered_pairs(2).append_column("topic", pa.array([1, 2]))
    write_pairs(tmp_path / "b.parquet", full)
    alone = planned(tmp_path, carry="all")
    # As pandas writes a frame without rows, and worse.
    odd = pa.schema(
        [("pair_id", pa.bool_()), ("premise", pa.float64()), ("hypothesis", pa.uuid()), ("topic", pa.string())]
    )
    texts = pa.schema([*full.schema][:3])
    late = [pa.field("topic", pa.string()), pa.field("late", pa.null())]
    for name, empty in (
        ("0", pa.schema([*texts, *late])),
        ("a", odd),
        ("c", odd.remove(3)),
        ("d", odd.append(odd.field(3))),
    ):
        write_pairs(tmp_path / f"{name}.parquet", empty.empty_table())
    for carry in ("all", "topic"):
        plan = planned(tmp_path, carry=carry)
        assert ([file.rows for file in plan.files], plan.bad) == ([0, 0, 2, 0, 0], ())
        assert plan.recipe["columns"] == alone.recipe["columns"]
        assert [unit.unit_id for unit in plan.units] == [unit.unit_id for unit in alone.units]
    write_pairs(tmp_path / "e.parquet", odd.remove(1).empty_table())
    assert bad_reasons(tmp_path) == {"e.parquet": "schema_missing"}


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(2).rename_columns(["key", "s1", "s2"]))
    survey = surveyed(tmp_path, premise_column="s1", hypothesis_column="s2", id_column="key")
    assert survey.columns.input_names == ["key", "s1", "s2"]


def test_all_carries_the_columns_of_all_readable_files(tmp_path: Path) -> None:
    first = numbered_pairs(2).append_column("topic", pa.array(["x", "y"])).append_column("year", pa.array([1, 2]))
    (tmp_path / "a.parquet").write_bytes(b"broken")
    write_pairs(tmp_path / "b.parquet", first)
    write_pairs(tmp_path / "c.parquet", numbered_pairs(2).append_column("late", pa.array([1.5, None])))
    survey = surveyed(tmp_path, carry="all")
    assert [field.name for field in survey.columns.carried] == ["topic", "year", "late"]
    assert {bad.uri.rpartition("/")[2]: bad.reason for bad in survey.bad} == {"a.parquet": "not_parquet"}
    assert bad_reasons(tmp_path, carry="topic") == {"a.parquet": "not_parquet", "c.parquet": "schema_missing"}


def test_carried_columns_are_those_that_were_named(tmp_path: Path) -> None:
    pairs = numbered_pairs(2).append_column("topic", pa.array(["x", "y"])).append_column("year", pa.array([1, 2]))
    write_pairs(tmp_path / "a.parquet", pairs)
    assert [field.name for field in surveyed(tmp_path, carry="year").columns.carried] == ["year"]
    assert surveyed(tmp_path).columns.carried == ()


@pytest.mark.parametrize(("carry", "told"), [("nowhere", "nowhere"), ("topic,gone", "gone")])
def test_a_carried_column_that_is_not_there_is_refused(tmp_path: Path, carry: str, told: str) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(2).append_column("topic", pa.array(["x", "y"])))
    with pytest.raises(SettingsError, match=f"`{told}`"):
        surveyed(tmp_path, carry=carry)


@pytest.mark.parametrize(
    "name", ["label", "p_neutral", "source_file", "_unit", "Label", "P_Neutral", "Premise", "HYPOTHESIS", "Pair_ID"]
)
def test_all_refuses_an_input_column_with_the_name_of_ours(tmp_path: Path, name: str) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(2).append_column(name, pa.array(["x", "y"])))
    with pytest.raises(SettingsError, match=f"`{name}`"):
        surveyed(tmp_path, carry="all")
    assert surveyed(tmp_path).bad == ()


def test_columns_that_readers_without_regard_to_case_take_for_one_are_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(2).append_column("topic", pa.array(["x", "y"])))
    write_pairs(tmp_path / "b.parquet", numbered_pairs(2).append_column("Topic", pa.array(["x", "y"])))
    with pytest.raises(SettingsError, match="`topic` and `Topic` are the same column"):
        surveyed(tmp_path, carry="all")
    assert surveyed(tmp_path).bad == ()


@pytest.mark.parametrize("carry", ["all", "topic"])
def test_a_file_with_a_carried_column_twice_is_quarantined(tmp_path: Path, carry: str) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(1).append_column("topic", pa.array(["x"])))
    twice = pa.table([["i"], ["a"], ["b"], ["x"], ["y"]], names=["pair_id", "premise", "hypothesis", "topic", "topic"])
    write_pairs(tmp_path / "b.parquet", twice)
    assert bad_reasons(tmp_path, carry=carry) == {"b.parquet": "schema_duplicate_column"}
    write_pairs(tmp_path / "0.parquet", twice)
    assert bad_reasons(tmp_path, carry=carry) == dict.fromkeys(["0.parquet", "b.parquet"], "schema_duplicate_column")


def test_the_same_input_gives_the_same_plan_however_it_is_worked_on(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(9), 4)
    plan = planned(tmp_path)
    assert planned(tmp_path) == plan
    for setting in ({"workers": "3"}, {"replace": True}, {"max_bad_files": 4}, {"output": "elsewhere"}):
        again = planned(tmp_path, **setting)
        assert (again.plan_id, unit_ids(again)) == (plan.plan_id, unit_ids(plan))


def test_another_file_changes_the_plan_and_no_unit(tmp_path: Path) -> None:
    write_pairs(tmp_path / "b.parquet", numbered_pairs(9), 4)
    before = planned(tmp_path, unit_rows=4)
    for name in ("a.parquet", "c.parquet"):
        write_pairs(tmp_path / name, numbered_pairs(5))
        after = planned(tmp_path, unit_rows=4)
        assert after.plan_id != before.plan_id
        assert set(unit_ids(before)) < set(unit_ids(after))
    assert [unit.pin.name for unit in after.units] == sorted(unit.pin.name for unit in after.units)


@pytest.mark.parametrize("name", ["bad.parquet", "empty.parquet"])
def test_a_file_without_units_changes_the_plan_all_the_same(tmp_path: Path, name: str) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(3))
    before = planned(tmp_path)
    if name == "bad.parquet":
        (tmp_path / name).write_bytes(b"no parquet")
    else:
        write_pairs(tmp_path / name, numbered_pairs(0))
    after = planned(tmp_path)
    assert after.plan_id != before.plan_id
    assert unit_ids(after) == unit_ids(before)


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"model": {"digests": {"model.safetensors": "1"}}}},
        {"recipe": {"precision": "bf16"}},
        {"recipe": {"truncation": "longest_first"}},
        {"recipe": {"max_length": 64}},
        {"carry": "topic"},
        {"carry_source": True},
        {"review_below": 0.7},
        {"long_premise": "window"},
        {"premise_column": "topic"},
        {"id_column": "topic"},
    ],
)
def test_what_decides_a_row_of_the_output_decides_the_names(tmp_path: Path, change: dict[str, Any]) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(3).append_column("topic", pa.array(["x", "y", "z"])))
    before, after = planned(tmp_path), planned(tmp_path, **change)
    assert after.plan_id != before.plan_id
    assert set(unit_ids(after)).isdisjoint(unit_ids(before))


def test_what_a_run_does_not_ask_for_is_not_in_the_names(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(3))
    assert set(planned(tmp_path).recipe) == {"labels_version", *RECIPE, "columns", "types", "with_source"}
    assert planned(tmp_path, review_below=0.7).recipe["review_below"] == 0.7


def test_all_takes_a_column_of_the_input_for_ours_only_where_it_is_ours(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", numbered_pairs(2).append_column("needs_review", pa.array(["x", "y"])))
    assert "needs_review" in surveyed(tmp_path, carry="all").columns.labelled.names
    with pytest.raises(SettingsError, match="`needs_review`"):
        surveyed(tmp_path, carry="all", review_below=0.5)


def test_a_file_that_changes_gets_new_units(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.parquet", numbered_pairs(3))
    before = planned(tmp_path)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert set(unit_ids(planned(tmp_path))).isdisjoint(unit_ids(before))


def test_unit_names_are_all_different_and_sixteen_hex_digits(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_pairs(tmp_path / name, numbered_pairs(9), 2)
    ids = unit_ids(planned(tmp_path, unit_rows=2))
    assert len(set(ids)) == len(ids) == 10
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in ids)


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"a": 1, "b": {"d": 2, "c": 3}}) == canonical_json({"b": {"c": 3, "d": 2}, "a": 1})
    assert canonical_json({"a": 1}) != canonical_json({"a": "1"})


def refusal(source: Path, **settings: object) -> str:
    with pytest.raises(InputError) as refused:
        surveyed(source, **settings).refuse_unreadable(settings_for(source, **settings))
    return str(refused.value)


def test_an_input_whose_files_all_lack_a_column_is_refused_with_the_columns_that_are_there(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_pairs(tmp_path / name, numbered_pairs(2).rename_columns(["pair_id", "s1", "s2"]))
    told = refusal(tmp_path)
    assert "none of 2 files has it; the columns of the first are `pair_id`, `s1`, `s2`" in told
    assert told.endswith("with --premise-column and --hypothesis-column")
    assert refusal(tmp_path, premise_column="s1").startswith("--hypothesis-column hypothesis: ")
    texts = {"premise_column": "s1", "hypothesis_column": "s2"}
    assert refusal(tmp_path, **texts, id_column="key").endswith("with --id-column")
    surveyed(tmp_path, **texts).refuse_unreadable(settings_for(tmp_path, **texts))


def test_an_input_of_which_some_file_has_the_columns_goes_on(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_pairs(tmp_path / name, numbered_pairs(2).rename_columns(["pair_id", "s1", "s2"]))
    write_pairs(tmp_path / "z.parquet", numbered_pairs(2))
    survey = surveyed(tmp_path)
    survey.refuse_unreadable(settings_for(tmp_path))
    assert (len(survey.files), len(survey.bad)) == (1, 2)


def test_an_input_of_which_no_row_can_be_read_is_refused_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    (tmp_path / "b.parquet").write_bytes(b"<html>")
    assert "none of its 2 files can be read, first" in refusal(tmp_path)
    # One that can be read and has no rows is nothing to publish either.
    write_pairs(tmp_path / "c.parquet", numbered_pairs(0))
    assert "a.parquet: empty_object" in refusal(tmp_path)
    write_pairs(tmp_path / "d.parquet", numbered_pairs(1))
    surveyed(tmp_path).refuse_unreadable(settings_for(tmp_path))


def test_a_file_of_thousands_of_columns_is_told_in_a_line(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", pa.table({f"c{number}": [1] for number in range(3000)}))
    told = refusal(tmp_path)
    assert "`c19` and 2980 more" in told
    assert len(told) < 500
