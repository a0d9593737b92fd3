"""A run becomes visible once every row is accounted for, and then all of it; whatever fails, nothing is lost."""
# ruff: noqa: D102 - the methods of the tests' own `Night` say what they do by their names

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pairs import labelled_unit, numbered_pairs, planned, settings_for, surveyed, write_pairs

from albert_infer import schema, storage
from albert_infer.config import LabelSettings
from albert_infer.errors import (
    AlbertInferError,
    InfrastructureError,
    IntegrityError,
    LimitError,
    ObjectChangedError,
    ObjectMissingError,
    SupersededError,
)
from albert_infer.output import commit, inspection, layout, limits, manifest, publication, publish, sealing
from albert_infer.output.inspection import Snapshot
from albert_infer.output.layout import SUCCESS, quarantine_name, staged_name
from albert_infer.output.manifest import Publication, Seal
from albert_infer.output.publication import End
from albert_infer.output.publish import Leftovers
from albert_infer.read.planning import Plan, Unit
from albert_infer.schema import PairColumns, Rejection
from albert_infer.storage import AccessError, Folder, InputObjects

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

    def start(self, *, output: Folder | None = None, on: Callable[[str], object] = str, **settings: Any) -> Start:
        """One start to its end; `on` is told of each of its steps as it is reached, by name."""
        start = Start(self, on)
        chosen = self.settings.model_copy(update=settings)
        start.end = publication.to_published(self.plan, output or self.output, chosen, start)
        return start

    def publish(self, **settings: Any) -> dict[str, Any]:
        """What stands in `_SUCCESS` after a start that may replace whatever is published."""
        self.start(**{"replace": True, **settings})
        published: dict[str, Any] = json.loads(self.output.read(SUCCESS))
        return published

    def snapshot(self) -> Snapshot:
        return inspection.look(self.output)

    def seal(self) -> Seal:
        """Account for every row and check the limits, as a start does before it writes the seal."""
        units = sealing.account(self.plan, storage.resolve_input(self.source.uri), self.snapshot(), self.output)
        seal = sealing.seal_of(self.plan, units, Publication(number=1, id="0" * 8))
        limits.refuse_limits(seal, self.settings)
        return seal

    def stem(self, unit: Unit) -> str:
        return layout.stem(layout.ordered_text(unit.pin.name), unit.range.first_row, unit.unit_id)

    def _place(self, unit: Unit) -> commit.Source:
        return commit.Source(self.source.uri_of(unit.pin.name), unit.range.first_row, unit.range.rows)


@dataclass
class Start:
    """The steps of one start: it labels what is missing, without a model, and remembers which units that was."""

    night: Night
    on: Callable[[str], object]
    labelled: list[str] = field(default_factory=list)
    replaced: str | None = None
    end: End | None = None

    def begin(self, replaced_plan: str | None) -> None:
        self.replaced = replaced_plan
        self.on("begin")

    def label(self, missing: Sequence[Unit], done: int) -> None:
        assert len(missing) + done == len(self.night.units)
        self.on("label")
        self.labelled += [unit.unit_id for unit in missing]
        if missing:
            self.night.label(*missing)

    def current_input(self) -> InputObjects:
        return storage.resolve_input(self.night.source.uri)

    def accounted(self, seal: Seal, input_objects: InputObjects) -> None:
        self.on("accounted")

    def keep_plan(self) -> None:
        self.night.output.put_if_absent(
            layout.plan_name(self.night.plan.plan_id), json.dumps(self.plan_json()).encode()
        )

    def plan_json(self) -> dict[str, Any]:
        return {"units": [{"unit_id": unit.unit_id} for unit in self.night.units]}


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
    return [pin.name for pin in output.objects(layout.UNITS)]


def named_units(names: Iterable[str]) -> list[str]:
    """The units of files under final names, in the order of the names."""
    return [final.unit_id for final in map(layout.parsed_final, sorted(names)) if final]


def refused(night: Night, kind: type[AlbertInferError]) -> str:
    """The text of the refusal; nothing was sealed and nothing is visible."""
    with pytest.raises(kind) as error:
        night.seal()
    assert visible(night.output) == set()
    return str(error.value)


def test_nothing_is_visible_before_the_run_is_published(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    seen: dict[str, set[str]] = {}
    night.start(on=lambda step: seen.update({step: visible(night.output)}))
    assert seen == {"begin": set(), "label": set(), "accounted": set()}
    assert named_units(visible(night.output)) == [unit.unit_id for unit in night.units]


def test_the_manifest_says_what_the_run_holds(night_of: NightOf) -> None:
    night = night_of("b.parquet", "a.parquet")
    manifest = night.publish()
    assert manifest["format"] == 1
    assert manifest["plan_id"] == night.plan.plan_id
    assert (manifest["rows_in"], manifest["labelled"], manifest["rejected"]) == (20, 18, {"null_text": 2})
    assert manifest["quarantined"] == {"files": [], "units": [], "rows_known": 0}
    assert [entry["name"] for entry in manifest["inputs"]] == ["a.parquet", "b.parquet"]
    assert manifest["model"] == night.plan.recipe["model"]
    assert (manifest["publication"]["number"], manifest["publication"]["base"]) == (1, None)
    assert manifest["replaces"] == []
    end = f",1-{manifest['publication']['id']}.parquet"
    paths = [f"{night.stem(unit)}{end}" for unit in night.units]
    assert [entry["path"] for entry in manifest["files"]] == paths
    assert [entry["path"] for entry in manifest["rejected_files"]] == [f"_rejected/{path}" for path in paths]


def test_the_manifest_is_true_of_every_file(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    manifest = night.publish()
    for entry in [*manifest["files"], *manifest["rejected_files"]]:
        data = night.output.read(entry["path"])
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == len(data)
        pin = night.output.stat(entry["path"])
        assert pin is not None
        assert entry["version"] == pin.version
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


def test_a_start_of_what_is_published_labels_and_writes_nothing(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    first = night.start()
    before = {entry.name: entry for entry in night.output.stored()}
    again = night.start()
    assert {entry.name: entry for entry in night.output.stored()} == before
    assert (again.labelled, again.end) == ([], replace(first.end, publishing_seconds=0.0) if first.end else None)


def test_only_units_that_are_missing_are_labelled(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label(night.units[0])
    assert night.start().labelled == [night.units[1].unit_id]


def test_a_unit_that_was_given_up_and_labelled_after_all_is_labelled(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet", max_bad_files=1)
    given_up, other = night.units
    night.label(other)
    night.quarantine(given_up)
    assert night.publish()["quarantined"]["rows_known"] == ROWS
    assert night.start().labelled == []
    night.quarantine(given_up)
    manifest = night.publish(retry_quarantined=True)
    assert (manifest["quarantined"]["rows_known"], manifest["quarantined"]["units"]) == (0, [])
    assert {entry["unit_id"] for entry in manifest["files"]} == {given_up.unit_id, other.unit_id}
    assert manifest["publication"]["number"] == 2
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
    night.output.put_if_absent(staged_name(unit_id), commit.to_parquet([part.slice(0, 9)], short))
    assert "9 labelled" in refused(night, IntegrityError)


def test_a_part_with_fewer_rows_than_it_says_is_not_sealed(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    unit_id = night.units[0].unit_id
    rows = labelled_unit(unit_id, numbered_pairs(ROWS), [None] * ROWS, COLUMNS)
    part = rows.select(COLUMNS.labelled.names).cast(COLUMNS.labelled)
    data = commit.to_parquet([part.slice(0, 9)], commit.summarise(unit_id, rows, COLUMNS))
    night.output.put_if_absent(staged_name(unit_id), data)
    assert staged_name(unit_id) in refused(night, IntegrityError)


@pytest.mark.parametrize("instead", ["another file", "another unit"])
def test_rejected_rows_that_are_foreign_are_not_sealed(night_of: NightOf, instead: str) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label()
    name, of_another = (layout.staged_rejected_name(unit.unit_id) for unit in night.units)
    night.output.delete([name])
    night.output.put_if_absent(name, night.output.read(of_another) if instead == "another unit" else b"not ours")
    assert name in refused(night, IntegrityError)


def test_a_unit_whose_rejected_rows_are_gone_is_labelled_again(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.label()
    night.output.delete([layout.staged_rejected_name(night.units[0].unit_id)])
    start = night.start()
    assert start.labelled == [night.units[0].unit_id]
    assert named_units(pin.name for pin in night.output.objects(layout.REJECTED)) == [
        unit.unit_id for unit in night.units
    ]


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


def test_a_run_of_which_no_row_could_be_read_is_not_published_whatever_is_accepted(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet", max_bad_files=99, max_rejected_share=1)
    for unit in night.units:
        night.quarantine(unit)
    told = refused(night, LimitError)
    assert f"publish {2 * ROWS} rows: none of them could be read, first " in told
    assert "a.parquet: bad_page (damaged)" in told


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_rows_that_are_all_rejected_are_published_only_if_all_may_be(night_of: NightOf, share: float) -> None:
    night = night_of("a.parquet", max_rejected_share=share)
    night.label(rejections=[Rejection.NULL_TEXT] * ROWS)
    if share == 1:
        manifest = night.publish()
        assert (manifest["labelled"], manifest["rejected"]) == (0, {"null_text": ROWS})
    else:
        assert "see that --premise-column and --hypothesis-column name the texts" in refused(night, LimitError)


def test_several_unreadable_units_of_one_file_are_one_bad_file(night_of: NightOf, tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", numbered_pairs(2 * ROWS), ROWS)
    night = night_of("b.parquet", unit_rows=ROWS, max_bad_files=1)
    night.label(night.units[2])
    for unit in night.units[:2]:
        night.quarantine(unit)
    assert night.publish()["quarantined"]["rows_known"] == 2 * ROWS


def test_a_second_run_keeps_what_both_share_and_removes_only_what_it_replaces(
    night_of: NightOf, tmp_path: Path
) -> None:
    first = night_of("a.parquet", "b.parquet")
    before = first.publish()
    shared, gone = (entry["path"] for entry in before["files"])
    inode = (tmp_path / "out" / shared).stat().st_ino
    (tmp_path / "in" / "b.parquet").unlink()
    second = night_of("c.parquet")
    start = second.start(replace=True)
    assert (start.labelled, start.replaced) == ([second.units[1].unit_id], first.plan.plan_id)
    manifest = json.loads(second.output.read(SUCCESS))
    paths = [entry["path"] for entry in manifest["files"]]
    assert paths == [shared, f"{second.stem(second.units[1])},2-{manifest['publication']['id']}.parquet"]
    assert visible(second.output) == set(paths)
    assert (tmp_path / "out" / shared).stat().st_ino == inode
    assert manifest["replaces"] == sorted([before["rejected_files"][1]["path"], gone])
    assert {pin.name for pin in second.output.objects(layout.REJECTED)} == {
        entry["path"] for entry in manifest["rejected_files"]
    }


@pytest.mark.parametrize("late", ["a0.parquet", "0.parquet", "c/d.parquet", "region=eu/a b.parquet", "é.parquet"])
def test_names_sort_as_the_input_and_stay_when_a_late_file_comes(night_of: NightOf, tmp_path: Path, late: str) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", numbered_pairs(3 * ROWS), ROWS)
    first = night_of("b.parquet", unit_rows=ROWS).publish()
    night = night_of(late, unit_rows=ROWS)
    second = night.publish()
    names = sorted(visible(night.output))
    assert named_units(names) == [unit.unit_id for unit in night.units]
    assert names == [entry["path"] for entry in second["files"]]
    assert {entry["path"] for entry in first["files"]} < set(names)


def test_a_quarantined_unit_stays_so_in_the_next_run(night_of: NightOf) -> None:
    first = night_of("a.parquet", "b.parquet", max_bad_files=1)
    first.label(first.units[0])
    first.quarantine(first.units[1])
    first.publish()
    second = night_of("c.parquet", max_bad_files=1)
    start = second.start(replace=True)
    assert start.labelled == [second.units[2].unit_id]
    quarantined = json.loads(second.output.read(SUCCESS))["quarantined"]["units"]
    assert [unit["reason"] for unit in quarantined] == ["bad_page"]


def test_a_plan_that_took_over_meanwhile_stands_and_the_other_leaves_nothing(night_of: NightOf, tmp_path: Path) -> None:
    slow, quick = two_plans(night_of, tmp_path)
    with pytest.raises(SupersededError, match=quick.plan.plan_id):
        slow.start(on=lambda step: quick.publish() if step == "accounted" else None)
    assert named_units(visible(quick.output)) == [unit.unit_id for unit in quick.units]
    assert quick.start().labelled == []


def test_another_plan_is_replaced_only_when_asked(night_of: NightOf, tmp_path: Path) -> None:
    first, second = two_plans(night_of, tmp_path)
    first.publish()
    before = {entry.name: entry for entry in first.output.stored()}
    with pytest.raises(SupersededError, match="--replace"):
        second.start()
    assert {entry.name: entry for entry in first.output.stored()} == before
    assert second.start(replace=True).replaced == first.plan.plan_id


def test_a_start_replaces_what_stood_when_it_began_and_nothing_else(night_of: NightOf, tmp_path: Path) -> None:
    first, second = two_plans(night_of, tmp_path)
    third = night_of("c.parquet")
    first.publish()
    with pytest.raises(SupersededError, match=third.plan.plan_id):
        second.start(replace=True, on=lambda step: third.publish() if step == "label" else None)
    assert named_units(visible(first.output)) == [unit.unit_id for unit in third.units]


def test_two_starts_of_one_plan_both_end_published(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    slow = night.start(on=lambda step: night.publish() if step == "accounted" else None)
    assert slow.end is not None
    assert slow.end.published.number == 1
    assert named_units(visible(night.output)) == [unit.unit_id for unit in night.units]


def test_units_that_another_start_published_and_tidied_away_are_not_missed(night_of: NightOf) -> None:
    """As for a start that is slow at a listing: it holds names that are gone by the time it reads them."""
    night = night_of("a.parquet", "b.parquet")
    slow = night.start(output=_AfterFirst(night.output, "stored", 2, night.publish))
    assert slow.end is not None
    assert slow.end.published.number == 1


FOREIGN = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"format": 1}',
    b'{"format": 99, "plan_id": "x"}',
    b"[" * 100_000,
    b'{"format": 1, "plan_id": "' + b"0" * 16 + b'", "files": [{}], "rejected_files": [], "replaces": []}',
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_success_marker_that_is_not_ours_is_an_integrity_error(night_of: NightOf, foreign: bytes) -> None:
    night = night_of("a.parquet")
    night.output.put_if_absent(SUCCESS, foreign)
    with pytest.raises(IntegrityError, match=SUCCESS):
        night.start()
    assert night.output.read(SUCCESS) == foreign


def test_a_run_is_to_be_labelled_or_checked_for_certain_until_it_is_sealed(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    unsealed: dict[str, bool] = {}
    assert night.snapshot().is_unsealed
    night.start(on=lambda step: unsealed.setdefault(step, night.snapshot().is_unsealed))
    assert unsealed == {"begin": True, "label": True, "accounted": True}
    assert not night.snapshot().is_unsealed
    night.output.delete([SUCCESS])
    assert not night.snapshot().is_unsealed, "the seal is there, and may be published without a label more"


def test_a_start_may_go_on_from_a_look_that_it_took_before_its_plan(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    first = night.snapshot()
    night.publish()
    start = Start(night, str)
    end = publication.to_published(night.plan, night.output, night.settings, start, first=first)
    assert end.published.plan_id == night.plan.plan_id, "the look was old, and nothing was written over"
    assert end.published == night.snapshot().published
    assert (night.snapshot().published or end.published).number == 1


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_seal_that_is_not_ours_is_an_integrity_error(night_of: NightOf, foreign: bytes) -> None:
    night = night_of("a.parquet")
    night.output.put_if_absent(layout.sealed_name(night.plan.plan_id), foreign)
    with pytest.raises(IntegrityError, match=r"sealed\.json"):
        night.start()


def test_a_manifest_that_names_a_file_of_somebody_else_is_an_integrity_error(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    published = night.publish()
    published["files"][0]["path"] = "../in/a.parquet"
    night.output.replace(SUCCESS, json.dumps(published).encode(), night.output.stat(SUCCESS))
    with pytest.raises(IntegrityError, match=SUCCESS):
        night.start()


@pytest.mark.parametrize("point", ["sealed", "half copied", "copied"])
def test_a_run_that_died_while_it_published_goes_on_where_it_was(night_of: NightOf, point: str) -> None:
    night = night_of("a.parquet", "b.parquet")
    died = dying_at(night, point)
    start = night.start()
    assert start.labelled == []
    manifest = json.loads(night.output.read(SUCCESS))
    assert manifest["publication"]["id"] == died.publication.id
    assert visible(night.output) == {entry["path"] for entry in manifest["files"]}
    assert staged(night.output) == []


def dying_at(night: Night, point: str) -> Seal:
    """Leave the night as a start does that dies at this point; what it had sealed."""
    night.label()
    seen, seal = night.snapshot(), night.seal()
    seal = seal.model_copy(update={"publication": Publication(number=1, id="abcdef01", base=None)})
    units = sealing.account(night.plan, storage.resolve_input(night.source.uri), seen, night.output)
    seal = sealing.seal_of(night.plan, units, seal.publication)
    assert publish.put_seal(seal, seen, night.output)
    new = list(seal.sources.items())
    for path, source in new[: {"sealed": 0, "half copied": 1, "copied": len(new)}[point]]:
        night.output.copy(source.pin, path)
    return seal


def test_staged_objects_that_came_back_go_with_the_next_start(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    night.label()
    left = {name: night.output.read(name) for name in staged(night.output)}
    night.publish()
    for name, data in left.items():
        night.output.put_if_absent(name, data)
    night.start()
    assert staged(night.output) == []
    assert named_units(visible(night.output)) == [night.units[0].unit_id]


def two_plans(night_of: NightOf, tmp_path: Path) -> tuple[Night, Night]:
    """Two plans for one output that share no unit."""
    first = night_of("a.parquet")
    (tmp_path / "in" / "a.parquet").rename(tmp_path / "a.parquet")
    second = night_of("b.parquet")
    (tmp_path / "a.parquet").rename(tmp_path / "in" / "a.parquet")
    return first, second


def test_plans_may_take_turns_at_one_output(night_of: NightOf, tmp_path: Path) -> None:
    nights, names = two_plans(night_of, tmp_path), set()
    for turn in range(6):
        night = nights[turn % 2]
        assert night.start(replace=True).labelled == [night.units[0].unit_id]
        assert named_units(visible(night.output)) == [night.units[0].unit_id]
        names |= visible(night.output)
    assert len(names) == 6, "a name was used again"


@pytest.mark.parametrize("replacing", [True, False])
def test_files_of_a_run_that_died_while_it_published_go_with_the_next_start(
    night_of: NightOf, tmp_path: Path, replacing: bool
) -> None:
    """Of another plan that takes over, or of the one that was published before and is asked for again."""
    killed, night = two_plans(night_of, tmp_path)
    if not replacing:
        night.publish()
        killed = replace(killed, settings=killed.settings.model_copy(update={"replace": True}))
    with pytest.raises(KeyboardInterrupt):
        killed.start(output=_AfterFirst(killed.output, "copy", 1, _die))
    assert len(visible(night.output)) == 1 + (not replacing)
    night.start()
    assert named_units(visible(night.output)) == [night.units[0].unit_id]
    with pytest.raises(SupersededError):
        killed.start(replace=False)


def _die() -> None:
    raise KeyboardInterrupt


def test_a_seal_on_another_base_is_made_anew(night_of: NightOf, tmp_path: Path) -> None:
    killed, other = two_plans(night_of, tmp_path)
    died = dying_at(killed, "copied")
    other.publish()
    assert named_units(visible(other.output)) == [other.units[0].unit_id]
    start = killed.start(replace=True)
    assert start.labelled == []
    assert start.end is not None
    assert start.end.published.number == 2
    assert start.end.published.id != died.publication.id


def damages(night: Night, tmp_path: Path, entry: dict[str, Any], damage: str) -> None:
    path = tmp_path / "out" / entry["path"]
    if damage == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.unlink()
        path.write_bytes(data if damage == "other bytes" else data[:-1])


@pytest.mark.parametrize("damage", ["gone", "other bytes", "cut off"])
@pytest.mark.parametrize("kind", ["files", "rejected_files"])
def test_a_start_labels_again_what_was_published_and_is_damaged(
    night_of: NightOf, tmp_path: Path, kind: str, damage: str
) -> None:
    night = night_of("a.parquet", "b.parquet")
    before = night.publish()
    damages(night, tmp_path, before[kind][0], damage)
    start = night.start()
    assert start.labelled == [night.units[0].unit_id]
    manifest = json.loads(night.output.read(SUCCESS))
    assert manifest["files"][1] == before["files"][1]
    assert manifest["files"][0]["path"] != before["files"][0]["path"]
    for entry in [*manifest["files"], *manifest["rejected_files"]]:
        assert hashlib.sha256(night.output.read(entry["path"])).hexdigest() == entry["sha256"]
    assert visible(night.output) == {entry["path"] for entry in manifest["files"]}


def test_a_damaged_unit_is_not_taken_over_by_the_run_that_replaces(night_of: NightOf, tmp_path: Path) -> None:
    before = night_of("a.parquet", "b.parquet").publish()
    (tmp_path / "out" / before["files"][0]["path"]).unlink()
    night = night_of("c.parquet")
    assert night.start(replace=True).labelled == [night.units[0].unit_id, night.units[2].unit_id]
    assert named_units(visible(night.output)) == [unit.unit_id for unit in night.units]


def test_a_copy_of_an_output_is_as_good_as_the_output(night_of: NightOf, tmp_path: Path) -> None:
    night = night_of("a.parquet", "b.parquet")
    night.publish()
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere", copy_function=shutil.copyfile)
    copied = replace(night, output=storage.open_folder(str(tmp_path / "elsewhere")))
    assert copied.start().labelled == []


def test_other_bytes_under_a_final_name_are_replaced_before_they_are_published(night_of: NightOf) -> None:
    night = night_of("a.parquet")
    seal = dying_at(night, "sealed")
    entry = seal.files[0]
    night.output.put_if_absent(entry.path, bytes(entry.bytes))
    night.start()
    published = manifest.published_at(night.output)
    assert published is not None
    assert published.id == seal.publication.id
    assert hashlib.sha256(night.output.read(entry.path)).hexdigest() == entry.sha256


@pytest.mark.parametrize("kept", ["published", "sealed", "staged"])
def test_an_output_of_version_1_is_taken_up(night_of: NightOf, tmp_path: Path, kept: str) -> None:
    night = night_of("a.parquet", "b.parquet")
    as_version_1(night, kept)
    old = visible(night.output)
    assert night.start().labelled == []
    if kept == "published":
        assert visible(night.output) == old, "its names stay while it is not replaced"
    (tmp_path / "in" / "a.parquet").unlink()
    late = night_of("c.parquet")
    assert late.start(replace=True).labelled == [late.units[1].unit_id]
    names = sorted(visible(late.output))
    assert named_units(names) == [unit.unit_id for unit in late.units]
    assert names == [entry["path"] for entry in json.loads(late.output.read(SUCCESS))["files"]]


def test_a_changed_file_of_version_1_is_labelled_again_before_it_gets_a_new_name(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    as_version_1(night, "published")
    changed = f"part-{night.units[0].unit_id}.parquet"
    size = len(night.output.read(changed))
    night.output.delete([changed])
    night.output.put_if_absent(changed, bytes(size))
    late = night_of("c.parquet")
    assert set(late.start(replace=True).labelled) == {night.units[0].unit_id, late.units[2].unit_id}
    published = manifest.published_at(late.output)
    assert published is not None
    assert all(hashlib.sha256(late.output.read(path)).hexdigest() == e.sha256 for path, e in published.files.items())


def as_version_1(night: Night, kept: str) -> None:
    """Leave the night as version 1 did: staged only, sealed and half published, or published."""
    night.label()
    if kept == "staged":
        return
    said = json.loads(night.seal().to_json())
    sources = said.pop("sources")
    del said["publication"]
    for entry in [*said["files"], *said["rejected_files"]]:
        folder = "_rejected/" if entry["path"].startswith("_rejected/") else ""
        source = night.output.stat(sources[entry["path"]]["name"])
        entry["path"] = f"{folder}part-{entry['unit_id']}.parquet"
        del entry["version"]
        assert source is not None
        if kept == "published" or not folder:
            night.output.copy(source, entry["path"])
    name = SUCCESS if kept == "published" else layout.sealed_name(night.plan.plan_id)
    night.output.put_if_absent(name, json.dumps(said).encode())
    if kept == "published":
        night.output.delete(staged(night.output))


@dataclass(frozen=True)
class _AfterFirst:
    """A folder that does something else once, after the given call of a method."""

    folder: Folder
    method: str
    call: int
    work: Callable[[], object]
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.folder, name)
        if name != self.method:
            return method

        def watched(*arguments: Any) -> Any:
            self.calls.append(name)
            is_the_call = len(self.calls) == self.call
            result = method(*arguments)
            if is_the_call:
                self.work()
            return result

        return watched


@dataclass(frozen=True)
class NoDeletes:
    """A folder that does not delete: the identity has no right to, or the store does not do it."""

    folder: Folder
    error: InfrastructureError

    def __getattr__(self, name: str) -> Any:
        return getattr(self.folder, name)

    def delete(self, names: Iterable[str]) -> None:
        if list(names):
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        AccessError("deleting", "S3 answered AccessDenied (403)", "grant s3:DeleteObject"),
        InfrastructureError("deleting", "S3 answered InternalError (500)", "start the run again"),
    ],
)
def test_a_run_whose_leftovers_cannot_be_deleted_is_published_and_they_wait(
    night_of: NightOf, error: InfrastructureError
) -> None:
    night = night_of("a.parquet")
    output: Any = NoDeletes(night.output, error)
    end = night.start(output=output).end
    assert end is not None
    # The part and its rejected rows.
    assert end.leftovers == Leftovers(2, f"{error.problem}; {error.remedy}")
    assert named_units(visible(night.output)) == [night.units[0].unit_id]
    night.start()
    assert staged(night.output) == []


@pytest.mark.parametrize("name", ["part-00000.parquet", "README.txt", "dt=2026-11-21/part-0123456789abcdef.parquet"])
def test_a_file_that_readers_would_take_for_ours_is_an_integrity_error(night_of: NightOf, name: str) -> None:
    night = night_of("a.parquet")
    night.label()
    night.output.put_if_absent(name, b"PAR1")
    with pytest.raises(IntegrityError, match=name):
        night.start()


def test_a_sealed_unit_that_is_gone_is_labelled_again(night_of: NightOf) -> None:
    night = night_of("a.parquet", "b.parquet")
    dying_at(night, "half copied")
    night.output.delete([staged_name(night.units[1].unit_id)])
    assert night.start().labelled == [night.units[1].unit_id]
    assert named_units(visible(night.output)) == [unit.unit_id for unit in night.units]


def test_a_run_without_pairs_is_published_empty(night_of: NightOf, tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "a.parquet", numbered_pairs(0))
    manifest = night_of().publish()
    assert (manifest["rows_in"], manifest["files"], manifest["inputs"][0]["rows"]) == (0, [], 0)
