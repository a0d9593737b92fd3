"""A run becomes visible once every row is accounted for, and then all of it; whatever fails, nothing is lost."""
# ruff: noqa: D102 - the methods of the tests' own `Night` say what they do by their names

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pairs import labelled_unit, numbered_pairs, planned, settings_for, surveyed, write_pairs

from albert_infer import commit, publish, schema, sealing, storage
from albert_infer.commit import SUCCESS, published_name, published_rejected_name, quarantine_name, staged_name
from albert_infer.config import LabelSettings
from albert_infer.errors import (
    AlbertInferError,
    IntegrityError,
    LimitError,
    ObjectChangedError,
    ObjectMissingError,
    SupersededError,
)
from albert_infer.planning import Plan, Unit
from albert_infer.schema import PairColumns, Rejection
from albert_infer.storage import AccessError, Folder

COLUMNS = PairColumns(pair_id="pair_id", id_type=pa.string())
# Of ten rows a unit; the limits of the tests allow it.
REJECTED: Sequence[Rejection | None] = [None, Rejection.NULL_TEXT, *[None] * 8]
ROWS = 10


@dataclass(frozen=True)
class Night:
    """A folder of input, its plan, and where its labels go."""

    source: Folder
    output: Folder
    plan: Plan
    settings: LabelSettings

    @property
    def units(self) -> tuple[Unit, ...]:
        return self.plan.units

    def label(self, *units: Unit, rejections: Sequence[Rejection | None] = REJECTED) -> None:
        for unit in units or self.units:
            rows = labelled_unit(unit.unit_id, numbered_pairs(unit.range.rows), rejections, COLUMNS)
            commit.commit_unit(self.output, unit.unit_id, self._place(unit), rows, COLUMNS)

    def quarantine(self, unit: Unit) -> None:
        marker = {schema.UNIT: [unit.unit_id], schema.UNIT_QUARANTINE: ["bad_page"], schema.DETAIL: ["damaged"]}
        commit.commit_unit(self.output, unit.unit_id, self._place(unit), pa.table(marker), COLUMNS)

    def seal(self) -> dict[str, Any]:
        found = storage.resolve_input(self.source.uri)
        manifest = sealing.account(self.plan, found, self.output, publish.standing(self.output))
        sealing.seal(manifest, self.output, self.settings)
        return manifest

    def publish(self) -> dict[str, Any]:
        now = publish.standing(self.output)
        publish.publish(self.seal(), self.output, now)
        published: dict[str, Any] = json.loads(self.output.read(SUCCESS))
        return published

    def _place(self, unit: Unit) -> commit.Source:
        return commit.Source(self.source.uri_of(unit.pin.name), unit.range.first_row, unit.range.rows)


NightOf = Callable[..., Night]


@pytest.fixture
def night_of(tmp_path: Path) -> NightOf:
    """Give a night over the files named, one unit of ten rows each; they are written when they are not there."""

    def night(*names: str, **settings: Any) -> Night:
        source = tmp_path / "in"
        for name in names:
            if not (source / name).exists():
                write_pairs(source / name, numbered_pairs(ROWS))
        settings = {"max_rejected_share": 0.2, **settings}
        output = storage.open_folder(str(tmp_path / "out"))
        found = surveyed(source, **settings)
        return Night(found.folder, output, planned(source, **settings), settings_for(source, **settings))

    return night


def visible(output: Folder) -> set[str]:
    """What readers see who skip names that begin with an underscore."""
    return {pin.name for pin in output.objects() if not pin.name.startswith("_")}


def staged(output: Folder) -> list[str]:
    return [pin.name for pin in output.objects(commit.UNITS)]


def refused(night: Night, kind: type[AlbertInferError]) -> str:
    """The text of the refusal; nothing was sealed and nothing is visible."""
    with pytest.raises(kind) as error:
        night.seal()
    assert visible(night.output) == set()
    assert sealing.sealed(night.plan, night.output) is None
    return str(error.value)


def test_nothing_is_visible_before_the_run_is_published(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label()
    assert visible(night.output) == set()
    night.seal()
    assert visible(night.output) == set()
    night.publish()
    assert visible(night.output) == {published_name(unit.unit_id) for unit in night.units}


def test_the_manifest_says_what_the_run_holds(night_of: NightOf) -> None:
    night = night_of("b.parquet", "a.parquet")
    night.label()
    night.publish()
    manifest = json.loads(night.output.read(SUCCESS))
    assert manifest["format"] == 1
    assert manifest["plan_id"] == night.plan.plan_id
    assert (manifest["rows_in"], manifest["labelled"], manifest["rejected"]) == (20, 18, {"null_text": 2})
    assert manifest["quarantined"] == {"files": [], "units": [], "rows_known": 0}
    assert [entry["path"] for entry in manifest["files"]] == [published_name(unit.unit_id) for unit in night.units]
    assert [entry["name"] for entry in manifest["inputs"]] == ["a.parquet", "b.parquet"]
    assert manifest["model"] == night.plan.recipe["model"]
    assert manifest["replaces"] == []
    rejected = [published_rejected_name(unit.unit_id) for unit in night.units]
    assert [entry["path"] for entry in manifest["rejected_files"]] == rejected


def test_the_manifest_is_true_of_every_file(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label()
    manifest = night.publish()
    for entry in [*manifest["files"], *manifest["rejected_files"]]:
        data = night.output.read(entry["path"])
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == len(data)
        assert entry["rows"] == pq.read_table(pa.BufferReader(data)).num_rows


def test_every_row_is_labelled_rejected_or_quarantined(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet", "c.parquet", max_bad_files=1)
    night.label(*night.units[:2])
    night.quarantine(night.units[2])
    manifest = night.publish()
    assert manifest["quarantined"]["rows_known"] == ROWS
    rejected = sum(manifest["rejected"].values())
    assert manifest["rows_in"] == manifest["labelled"] + rejected + manifest["quarantined"]["rows_known"]
    assert [unit["unit_id"] for unit in manifest["quarantined"]["units"]] == [night.units[2].unit_id]


def test_after_publishing_no_staged_copy_is_left(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet", max_bad_files=1)
    night.label(night.units[0])
    night.quarantine(night.units[1])
    night.publish()
    assert staged(night.output) == []


def test_publishing_twice_is_harmless(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    night.label()
    now = publish.standing(night.output)
    manifest = night.seal()
    publish.publish(manifest, night.output, now)
    before = {name: night.output.read(name) for name in [*visible(night.output), SUCCESS]}
    publish.publish(manifest, night.output, now)
    assert {name: night.output.read(name) for name in [*visible(night.output), SUCCESS]} == before


def test_a_missing_unit_is_not_sealed(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label(night.units[0])
    assert night.units[1].unit_id in refused(night, IntegrityError)
    assert publish.finished_units(night.plan, night.output, None).units == {night.units[0].unit_id}


def test_a_unit_that_was_given_up_and_labelled_after_all_is_labelled(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet", max_bad_files=1)
    given_up, other = night.units
    night.label(other)
    night.quarantine(given_up)
    assert night.publish()["quarantined"]["rows_known"] == ROWS
    assert publish.finished_units(night.plan, night.output, publish.standing(night.output)).quarantined == {
        given_up.unit_id
    }
    night.quarantine(given_up)
    night.label(given_up)
    manifest = night.publish()
    assert (manifest["quarantined"]["rows_known"], manifest["quarantined"]["units"]) == (0, [])
    assert {entry["unit_id"] for entry in manifest["files"]} == {given_up.unit_id, other.unit_id}
    assert staged(night.output) == []


def test_a_unit_that_holds_other_rows_than_planned_is_not_sealed(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    rows = labelled_unit(night.units[0].unit_id, numbered_pairs(9), [None] * 9, COLUMNS)
    commit.commit_unit(night.output, night.units[0].unit_id, commit.Source("x", 0, 9), rows, COLUMNS)
    assert staged_name(night.units[0].unit_id) in refused(night, IntegrityError)


def test_rows_that_are_lost_are_not_sealed(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    unit_id = night.units[0].unit_id
    rows = labelled_unit(unit_id, numbered_pairs(ROWS), [None] * ROWS, COLUMNS)
    short = commit.UnitSummary(unit_id, ROWS, 9, {}, {"neutral": 9}, 1, 0)
    part = rows.select(COLUMNS.labelled.names).cast(COLUMNS.labelled)
    night.output.put_if_absent(staged_name(unit_id), commit.to_parquet(part.slice(0, 9), short))
    assert "9 labelled" in refused(night, IntegrityError)


def test_a_part_with_fewer_rows_than_it_says_is_not_sealed(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    unit_id = night.units[0].unit_id
    rows = labelled_unit(unit_id, numbered_pairs(ROWS), [None] * ROWS, COLUMNS)
    part = rows.select(COLUMNS.labelled.names).cast(COLUMNS.labelled)
    data = commit.to_parquet(part.slice(0, 9), commit.summarise(unit_id, rows, COLUMNS))
    night.output.put_if_absent(staged_name(unit_id), data)
    assert staged_name(unit_id) in refused(night, IntegrityError)


@pytest.mark.parametrize("instead", ["nothing", "another file", "another unit"])
def test_rejected_rows_that_are_missing_or_foreign_are_not_sealed(night_of: NightOf, instead: str) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label()
    name, of_another = (commit.staged_rejected_name(unit.unit_id) for unit in night.units)
    night.output.delete([name])
    if instead != "nothing":
        data = night.output.read(of_another) if instead == "another unit" else b"not ours"
        night.output.put_if_absent(name, data)
    assert name in refused(night, IntegrityError)


@pytest.mark.parametrize("told", [b"{", b"null", b"[]", b"{}", b'{"unit_id": "another"}'])
def test_a_quarantine_that_is_not_ours_is_not_sealed(night_of: NightOf, told: bytes) -> None:
    night = night_of("a.parquet", max_bad_files=1)
    night.output.put_if_absent(quarantine_name(night.units[0].unit_id), told)
    assert night.units[0].unit_id in refused(night, IntegrityError)


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_an_input_that_changed_is_not_sealed(night_of: NightOf, tmp_path: Path, change: str) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label()
    path = tmp_path / "in" / "a.parquet"
    path.unlink()
    if change == "replaced":
        write_pairs(path, numbered_pairs(ROWS + 1))
    assert "a.parquet" in refused(night, ObjectChangedError if change == "replaced" else ObjectMissingError)


def test_an_unreadable_file_that_was_mended_is_not_sealed_as_unreadable(night_of: NightOf, tmp_path: Path) -> None:
    night_of("a.parquet")
    (tmp_path / "in" / "c.parquet").write_bytes(b"no parquet")
    night = night_of(max_bad_files=1)
    night.label()
    write_pairs(tmp_path / "in" / "c.parquet", numbered_pairs(ROWS))
    assert "c.parquet" in refused(night, ObjectChangedError)


@pytest.mark.parametrize(("share", "held"), [(0.1, True), (0.09, False), (0.0, False), (1.0, True)])
def test_more_rejected_rows_than_allowed_are_not_published(night_of: NightOf, share: float, held: bool) -> None:
    night = night_of("a.parquet", max_rejected_share=share)
    night.label()
    if held:
        assert night.publish()["rejected"] == {"null_text": 1}
    else:
        assert "--max-rejected-share" in refused(night, LimitError)


@pytest.mark.parametrize("max_bad_files", [0, 1, 2])
def test_more_bad_files_than_allowed_are_not_published(night_of: NightOf, tmp_path: Path, max_bad_files: int) -> None:
    night_of("a.parquet", "b.parquet")
    (tmp_path / "in" / "c.parquet").write_bytes(b"no parquet")
    night = night_of(max_bad_files=max_bad_files)
    night.label(night.units[0])
    night.quarantine(night.units[1])
    if max_bad_files == 2:
        assert [bad["uri"] for bad in night.publish()["quarantined"]["files"]] == [night.source.uri_of("c.parquet")]
    else:
        assert "--max-bad-files" in refused(night, LimitError)


def test_several_unreadable_units_of_one_file_are_one_bad_file(night_of: NightOf, tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", numbered_pairs(2 * ROWS), ROWS)
    night = night_of("b.parquet", unit_rows=ROWS, max_bad_files=1)
    night.label(night.units[2])
    for unit in night.units[:2]:
        night.quarantine(unit)
    assert night.publish()["quarantined"]["rows_known"] == 2 * ROWS


def test_what_is_finished_is_staged_or_quarantined_or_published(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet", "c.parquet", max_bad_files=1)
    night.label(night.units[0])
    night.quarantine(night.units[1])
    done = {unit.unit_id for unit in night.units[:2]}
    assert publish.finished_units(night.plan, night.output, None).units == done
    night.label(night.units[2])
    night.publish()
    now = publish.standing(night.output)
    assert publish.finished_units(night.plan, night.output, now).units == {unit.unit_id for unit in night.units}


def test_a_second_run_keeps_what_both_share_and_removes_only_what_it_replaces(
    night_of: NightOf, tmp_path: Path
) -> None:
    first = night_of("a.parquet", "b.parquet")
    first.label()
    first.publish()
    shared, gone = (published_name(unit.unit_id) for unit in first.units)
    inode = (tmp_path / "out" / shared).stat().st_ino
    (tmp_path / "in" / "b.parquet").unlink()
    second = night_of("c.parquet")
    now = publish.standing(second.output)
    assert publish.finished_units(second.plan, second.output, now).units == {first.units[0].unit_id}
    second.label(second.units[1])
    manifest = second.publish()
    assert visible(second.output) == {shared, published_name(second.units[1].unit_id)}
    assert (tmp_path / "out" / shared).stat().st_ino == inode
    assert manifest["replaces"] == sorted([published_rejected_name(first.units[1].unit_id), gone])
    assert {pin.name for pin in second.output.objects(commit.REJECTED)} == {
        entry["path"] for entry in manifest["rejected_files"]
    }


def test_a_quarantined_unit_stays_so_in_the_next_run(night_of: NightOf) -> None:
    first = night_of("a.parquet", "b.parquet", max_bad_files=1)
    first.label(first.units[0])
    first.quarantine(first.units[1])
    first.publish()
    second = night_of("c.parquet", max_bad_files=1)
    now = publish.standing(second.output)
    assert len(publish.finished_units(second.plan, second.output, now).quarantined) == 1
    second.label(second.units[2])
    assert [unit["reason"] for unit in second.publish()["quarantined"]["units"]] == ["bad_page"]


def test_nothing_is_deleted_before_the_new_manifest_stands(night_of: NightOf) -> None:
    first = night_of("a.parquet")
    first.label()
    first.publish()
    before = visible(first.output)
    second = night_of("b.parquet")
    second.label(second.units[1])
    now = publish.standing(second.output)
    manifest = second.seal()
    third = night_of("c.parquet")
    third.label(*third.units[1:])
    third.publish()
    with pytest.raises(SupersededError, match=third.plan.plan_id):
        publish.publish(manifest, second.output, now)
    standing = publish.standing(second.output)
    assert standing is not None
    assert standing.plan_id == third.plan.plan_id
    assert before <= visible(second.output)
    assert set(standing.files) & visible(second.output) == {entry["path"] for entry in standing.manifest["files"]}


@pytest.mark.parametrize("foreign", [b"", b"{}", b"[]", b"null", b'{"format": 1}', b'{"format": 99, "plan_id": "x"}'])
def test_a_success_marker_that_is_not_ours_is_an_integrity_error(night_of: NightOf, foreign: bytes) -> None:
    night = night_of("a.parquet")
    night.output.put_if_absent(SUCCESS, foreign)
    with pytest.raises(IntegrityError, match=SUCCESS):
        publish.standing(night.output)
    assert night.output.read(SUCCESS) == foreign


def test_a_crash_between_copying_and_the_manifest_is_made_good(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label()
    manifest = night.seal()
    # As far as the crash let it come: one unit is copied, nothing is said.
    first = night.units[0].unit_id
    night.output.copy(staged_name(first), published_name(first))
    again = sealing.sealed(night.plan, night.output)
    assert again == manifest
    publish.publish(manifest, night.output, None)
    assert visible(night.output) == {published_name(unit.unit_id) for unit in night.units}
    assert staged(night.output) == []


def test_a_crash_after_the_manifest_leaves_only_what_the_next_start_removes(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    night.label()
    left = {name: night.output.read(name) for name in staged(night.output)}
    manifest = night.publish()
    for name, data in left.items():
        night.output.put_if_absent(name, data)
    publish.remove_leftovers(night.output, manifest["plan_id"])
    assert staged(night.output) == []
    assert visible(night.output) == {published_name(night.units[0].unit_id)}


def test_a_seal_counts_as_long_as_its_files_are_there(night_of: NightOf) -> None:
    first = night_of("a.parquet")
    first.label()
    manifest = first.seal()
    second = night_of("b.parquet")
    second.label()
    second.publish()
    assert sealing.sealed(first.plan, first.output) == manifest
    first.output.delete([manifest["files"][0]["path"]])
    assert sealing.sealed(first.plan, first.output) is None


def two_plans(night_of: NightOf, tmp_path: Path) -> tuple[Night, Night]:
    """Two plans for one output that share no unit."""
    first = night_of("a.parquet")
    (tmp_path / "in" / "a.parquet").rename(tmp_path / "a.parquet")
    second = night_of("b.parquet")
    (tmp_path / "a.parquet").rename(tmp_path / "in" / "a.parquet")
    return first, second


def test_plans_may_take_turns_at_one_output(night_of: NightOf, tmp_path: Path) -> None:
    nights = two_plans(night_of, tmp_path)
    for turn in range(6):
        night = nights[turn % 2]
        assert sealing.sealed(night.plan, night.output) is None
        assert publish.finished_units(night.plan, night.output, publish.standing(night.output)).units == set()
        night.label()
        night.publish()
        assert visible(night.output) == {published_name(night.units[0].unit_id)}


def test_tidying_up_after_a_plan_deletes_nothing_once_another_one_is_published(
    night_of: NightOf, tmp_path: Path
) -> None:
    first, second = two_plans(night_of, tmp_path)
    for night in (first, second, first):
        night.label()
        night.publish()
    before = {pin.name: night.output.read(pin.name) for pin in first.output.objects()}
    assert publish.remove_leftovers(first.output, second.plan.plan_id) == 0
    assert {pin.name: night.output.read(pin.name) for pin in first.output.objects()} == before


def test_files_of_a_run_that_was_killed_while_it_published_go_with_the_next_one(
    night_of: NightOf, tmp_path: Path
) -> None:
    killed, night = two_plans(night_of, tmp_path)
    killed.label()
    killed.seal()
    unit_id = killed.units[0].unit_id
    killed.output.copy(staged_name(unit_id), published_name(unit_id))
    night.label()
    assert published_name(unit_id) in night.publish()["replaces"]
    assert visible(night.output) == {published_name(night.units[0].unit_id)}


@dataclass(frozen=True)
class NoDeletes:
    """A folder whose identity has no right to delete."""

    folder: Folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.folder, name)

    def delete(self, names: Iterable[str]) -> None:
        if list(names):
            raise AccessError("deleting", "S3 answered AccessDenied (403)", "grant s3:DeleteObject")


def test_without_the_right_to_delete_a_run_is_published_and_its_leftovers_wait(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    night.label()
    output: Any = NoDeletes(night.output)
    assert publish.publish(night.seal(), output, None) == 2  # the part and its rejected rows
    assert visible(night.output) == {published_name(night.units[0].unit_id)}
    assert publish.remove_leftovers(night.output, night.plan.plan_id) == 0
    assert staged(night.output) == []


@pytest.mark.parametrize("name", ["part-00000.parquet", "README.txt", "dt=2026-11-21/part-0123456789abcdef.parquet"])
def test_a_file_that_readers_would_take_for_ours_is_an_integrity_error(night_of: NightOf, name: str) -> None:
    night = night_of("a.parquet")
    night.label()
    night.publish()
    publish.refuse_foreign_files(night.output)
    night.output.put_if_absent(name, b"PAR1")
    with pytest.raises(IntegrityError, match=name):
        publish.refuse_foreign_files(night.output)


def test_a_sealed_unit_that_is_gone_is_not_published(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label()
    manifest = night.seal()
    night.output.delete([staged_name(night.units[1].unit_id)])
    with pytest.raises(IntegrityError, match=published_name(night.units[1].unit_id)):
        publish.publish(manifest, night.output, None)
    assert night.output.stat(SUCCESS) is None


def test_a_run_without_pairs_is_published_empty(night_of: NightOf, tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", numbered_pairs(0))
    manifest = night_of().publish()
    assert (manifest["rows_in"], manifest["files"], manifest["inputs"][0]["rows"]) == (0, [], 0)
