"""Whatever is put in front of a night's job: what it must get, and that nothing beside it is lost.

The table at the end numbers the bad inputs; each has a case. Most of them share two inputs that hold all kinds of bad
rows and bad files at once, so that each also shows that the others do not matter to it.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec

import pyarrow as pa
import pytest
from bad_files import pickled_objects
from forked import forked
from input_of_everything import (
    COPIES,
    MANY_ROWS,
    TEXT_NAMES,
    TEXT_ROWS,
    UNIT_ROWS,
    Written,
    bytes_file,
    good_file,
    input_of_everything,
)
from job_runs import (
    INLINE_JOB,
    Outcome,
    labelled_rows,
    made_up_pairs,
    manifest_of,
    rejected_rows,
    report_of,
    run_inline,
    staged_units,
    state_of,
    tiny_checkpoint,
    visible_files,
    wait_until,
    write_pairs,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from albert_infer.common.failpoints import VARIABLE

Row = tuple[str, int]
PUBLISH_ALL = ("--max-bad-files", 99, "--max-rejected-share", 1, "--carry-source")


# --- a night and what came of it


@dataclass
class Night:
    """A job that has ended: its input, its output, and where each row of the input went."""

    source: Path
    output: Path
    outcome: Outcome
    written: list[Written] = field(default_factory=list)

    @cached_property
    def labelled(self) -> dict[Row, dict[str, Any]]:
        """By where each came from."""
        return {self._place(row): row for row in labelled_rows(self.output).to_pylist()}

    @cached_property
    def rejected(self) -> dict[Row, dict[str, Any]]:
        """By where each came from."""
        if not self.manifest["rejected_files"]:
            return {}
        return {self._place(row): row for row in rejected_rows(self.output).to_pylist()}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """`_SUCCESS`."""
        return manifest_of(self.output)

    @cached_property
    def report(self) -> dict[str, Any]:
        """`report.json`."""
        return report_of(self.output)

    @cached_property
    def bad_files(self) -> dict[str, dict[str, Any]]:
        """Quarantined files by name."""
        return {self._name(bad["uri"]): bad for bad in self.manifest["quarantined"]["files"]}

    @cached_property
    def bad_units(self) -> dict[Row, dict[str, Any]]:
        """Quarantined units by name and first row."""
        return {(self._name(unit["uri"]), unit["first_row"]): unit for unit in self.manifest["quarantined"]["units"]}

    def assert_nothing_lost(self) -> None:
        """Every row that can be read is labelled or rejected, once; all others are counted, and the counts add up."""
        assert (self.outcome.exit_code, self.outcome.errors) == (0, []), self.outcome.stderr
        readable = {(self._name(str(file.path)), row) for file in self.written for row in file.readable}
        assert self.labelled.keys() | self.rejected.keys() == readable
        manifest = self.manifest
        assert manifest["labelled"] == len(self.labelled) == labelled_rows(self.output).num_rows
        assert manifest["rejected"] == Counter(row["rejection"] for row in self.rejected.values())
        assert manifest["rows_in"] == sum(file.rows or 0 for file in self.written)
        assert manifest["quarantined"]["rows_known"] == manifest["rows_in"] - len(readable)
        assert len(readable) == len(self.labelled) + len(self.rejected)
        inputs = {pin["name"] for pin in manifest["inputs"]}
        assert inputs | self.bad_files.keys() == {self._name(str(file.path)) for file in self.written}
        assert self.report["exit_code"] == 0

    def text_row(self, name: str) -> Row:
        """Where a row of the file of texts is."""
        return "texts.parquet", TEXT_NAMES.index(name)

    def _place(self, row: dict[str, Any]) -> Row:
        return self._name(row["source_file"]), row["source_row"]

    def _name(self, uri: str) -> str:
        return str(Path(uri).relative_to(self.source))


@dataclass(frozen=True)
class Bench:
    """Where a case runs: a folder of its own, and what is shared: a checkpoint, and the night that most look at."""

    folder: Path
    checkpoint: Path
    night_of_everything: Callable[[], Night]

    def here(self, folder: Path) -> Bench:
        """The same, in another folder."""
        return replace(self, folder=folder)

    def label(self, *more: object, model: Path | None = None) -> Outcome:
        """Run the job."""
        return run_inline(*self.argv(model), *more)

    def argv(self, model: Path | None = None) -> tuple[object, ...]:
        """Its flags."""
        where = ("--input", self.source, "--output", self.output, "--model", model or self.checkpoint)
        return (*where, "--unit-rows", UNIT_ROWS)

    def night(self, written: list[Written], *more: object, model: Path | None = None) -> Night:
        """Run the job so that it publishes whatever is bad, and say what came of it."""
        outcome = self.label(*PUBLISH_ALL, *more, model=model)
        return Night(self.source, self.output, outcome, written)

    @property
    def source(self) -> Path:
        """The input folder."""
        return self.folder / "in"

    @property
    def output(self) -> Path:
        """The output folder."""
        return self.folder / "out"

    @property
    def everything(self) -> Night:
        """The night of the input that has everything in it; run when first asked for."""
        return self.night_of_everything()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bad-inputs")

    @cache
    def night_of_everything() -> Night:
        return bench.night(input_of_everything(bench.source, bench.folder / "marker"))

    bench = Bench(folder, tiny_checkpoint(folder / "checkpoint"), night_of_everything)
    return bench


P = ParamSpec("P")


def case(check: Callable[Concatenate[Bench, P], None], *args: P.args, **kwargs: P.kwargs) -> Callable[[Bench], None]:
    """The check with all but its bench."""
    return lambda bench: check(bench, *args, **kwargs)


# --- rows and files of the shared night


def is_rejected(bench: Bench, *names: str, reason: str) -> None:
    night = bench.everything
    for name in names:
        row = night.rejected[night.text_row(name)]
        assert row["rejection"] == reason
        assert "w1" not in row["detail"], "no text of the input"
    night.assert_nothing_lost()


def is_labelled(bench: Bench, *names: str, truncated: bool = False) -> None:
    night = bench.everything
    for name in names:
        row = night.labelled[night.text_row(name)]
        raw = TEXT_ROWS[TEXT_NAMES.index(name)][1] or b""
        assert (row["premise"], row["truncated"]) == (raw.decode(), truncated)
    night.assert_nothing_lost()


def is_quarantined(bench: Bench, *names: str, reason: str, told: str = "") -> None:
    night = bench.everything
    for name in names:
        bad = night.bad_files[name]
        assert (bad["reason"], told in bad["detail"]) == (reason, True)
    night.assert_nothing_lost()


def is_a_bad_unit(bench: Bench, name: str, reason: str, first_row: int, rows: int) -> None:
    night = bench.everything
    unit = night.bad_units[name, first_row]
    assert (unit["reason"], unit["rows"]) == (reason, rows)
    night.assert_nothing_lost()


def is_labelled_whole(bench: Bench, *names: str) -> None:
    night = bench.everything
    for name in names:
        assert {row for file, row in night.labelled if file == name} == set(range(5))
    night.assert_nothing_lost()


def is_ignored(bench: Bench, *names: str, rule: str) -> None:
    night = bench.everything
    assert {name: night.report["ignored"].get(name) for name in names} == dict.fromkeys(names, rule)
    night.assert_nothing_lost()


def bad_utf8_keeps_its_bytes(bench: Bench) -> None:
    is_rejected(bench, "not UTF-8", reason="bad_utf8")
    night = bench.everything
    assert night.rejected[night.text_row("not UTF-8")]["detail"].endswith(" dzEg//4=")
    row = night.rejected["id-not-utf8.parquet", 1]
    assert (row["rejection"], row["pair_id"], row["detail"]) == ("bad_utf8", None, "pair_id base64 /w==")


def ids_are_counted(bench: Bench) -> None:
    is_labelled_whole(bench, "ids.parquet", "ids-again.parquet")
    # Of `a b a - a` two are again what the first was, in each of the files; an id in both is not noticed.
    assert (bench.everything.report["duplicate_ids"], bench.everything.report["null_ids"]) == (4, 2)
    assert "2 pairs without an id" in bench.everything.outcome.stdout


def a_file_without_rows_is_input(bench: Bench) -> None:
    night = bench.everything
    assert [pin["rows"] for pin in night.manifest["inputs"] if pin["name"] == "no-rows.parquet"] == [0]
    night.assert_nothing_lost()


def texts_of_null_type_are_null(bench: Bench) -> None:
    night = bench.everything
    assert [night.rejected["kind-null.parquet", row]["rejection"] for row in range(5)] == ["null_text"] * 5
    night.assert_nothing_lost()


def path_values_are_no_columns(bench: Bench) -> None:
    is_labelled_whole(bench, "premise=EVIL/hive.parquet")
    assert all(row["premise"] != "EVIL" for row in bench.everything.labelled.values())


def a_pickle_is_never_opened(bench: Bench) -> None:
    is_quarantined(bench, "extension.parquet", reason="schema_extension", told="premise")
    is_labelled_whole(bench, "extension-unasked.parquet")
    own = bench.here(bench.folder / "carried")
    good = good_file(own.source / "b.parquet", objects=pa.array(["x"] * 5))
    for name in ("a.parquet", "c.parquet"):
        objects = pickled_objects(own.folder / "marker", 5)
        nested = objects if name == "a.parquet" else pa.ListArray.from_arrays(pa.array(range(6), pa.int32()), objects)
        good_file(own.source / name, objects=nested)
    bad = [Written(own.source / name, 5, range(0)) for name in ("a.parquet", "c.parquet")]
    night = own.night([good, *bad], "--carry", "objects")
    assert {name: file["reason"] for name, file in night.bad_files.items()} == dict.fromkeys(
        ("a.parquet", "c.parquet"), "schema_extension"
    )
    assert [row["objects"] for row in night.labelled.values()] == ["x"] * 5
    night.assert_nothing_lost()
    assert not (bench.everything.source.parent / "marker").exists()
    assert not (own.folder / "marker").exists()


# --- nights of their own


def integer_ids_become_one_type(bench: Bench) -> None:
    ids = [pa.array(range(5), kind) for kind in (pa.int32(), pa.int64())]
    night = bench.night([good_file(bench.source / f"{n}.parquet", pair_id=column) for n, column in enumerate(ids)])
    night.assert_nothing_lost()
    assert labelled_rows(bench.output).schema.field("pair_id").type == pa.int64()
    assert [row["pair_id"] for row in night.labelled.values()] == [*range(5), *range(5)]


def many_pairs(bench: Bench) -> pa.Table:
    pairs = made_up_pairs(480, seed=6)
    write_pairs(bench.source / "a.parquet", pairs)
    return pairs


def label_while(bench: Bench, change: Callable[[], object]) -> Outcome:
    """Run the job, and change something once it has labelled a unit."""
    armed = {VARIABLE: f"part_put:wait:1:{bench.folder}"}
    with forked(INLINE_JOB, *bench.argv(), "--carry-source", env=armed) as job:
        wait_until((bench.folder / "part_put.1").exists, job)
        change()
        (bench.folder / "go").touch()
        return job.outcome()


def an_input_that_changes_holds_the_night_back(bench: Bench) -> None:
    many_pairs(bench)
    good_file(bench.source / "b.parquet")
    outcome = label_while(bench, lambda: write_pairs(bench.source / "b.parquet", made_up_pairs(7, seed=7)))
    assert (outcome.exit_code, visible_files(bench.output)) == (4, [])
    assert "b.parquet" in outcome.errors[0]
    kept = len(staged_units(bench.output))
    assert kept, "what was labelled before it changed stays"
    night = bench.night(
        [Written(bench.source / "a.parquet", 480, range(480)), Written(bench.source / "b.parquet", 7, range(7))]
    )
    night.assert_nothing_lost()
    assert night.report["units"]["done_before"] == kept


def a_late_file_is_labelled_next(bench: Bench) -> None:
    first = good_file(bench.source / "b.parquet", 20)
    bench.night([first]).assert_nothing_lost()
    before = state_of(bench.output, "part-*")
    late = good_file(bench.source / "a.parquet", 7)
    night = bench.night([first, late], "--replace")
    night.assert_nothing_lost()
    assert night.report["units"] == {"done_before": 2, "labelled": 1}
    assert before.items() < state_of(bench.output, "part-*").items()


def refused(bench: Bench, code: int, told: str, *argv: object) -> None:
    """The start ends with `code`, in one line that says `told`, and nothing is written or changed."""
    good_file(bench.source / "a.parquet")
    before = state_of(bench.source)
    whole = ("--input", bench.source, "--output", bench.output, "--model", bench.checkpoint)
    given = dict(zip(whole[::2], whole[1::2], strict=True)) | dict(zip(argv[::2], argv[1::2], strict=True))
    outcome = run_inline(*(word for pair in given.items() for word in pair))
    assert (outcome.exit_code, len(outcome.errors), outcome.report) == (code, 1, ""), outcome.stderr
    assert told in outcome.errors[0]
    assert state_of(bench.source) == before
    assert not bench.output.exists()


def an_empty_input_is_refused(bench: Bench) -> None:
    (bench.folder / "empty").mkdir()
    for name in ("empty", "nowhere"):
        refused(bench, 2, name, "--input", bench.folder / name)


def only_bad_files_are_no_input(bench: Bench) -> None:
    bytes_file(bench.source / "a.parquet", b"")
    bytes_file(bench.source / "b.parquet", b"<html>")
    for outcome in (bench.label(), bench.label(*PUBLISH_ALL)):
        assert (outcome.exit_code, len(outcome.errors)) == (2, 1)
        assert "none of its 2 files can be read" in outcome.errors[0]
        assert "a.parquet: empty_object" in outcome.errors[0]
    assert not bench.output.exists()


def only_objects_left_out_are_refused(bench: Bench) -> None:
    for name in ("part-0.parquet.gz", "_temporary/0/a.parquet", "a.parquet.bak"):
        source = bench.folder / name.partition("/")[0].replace(".", "-")
        bytes_file(source / name, b"\x1f\x8b")
        refused(bench, 2, f"first {name}", "--input", source)


def files_of_a_table_are_refused(bench: Bench) -> None:
    for log in ("_delta_log/00000000000000000000.json", ".hoodie/hoodie.properties", "metadata/v1.metadata.json"):
        table = bench.folder / log.partition("/")[0].strip("._")
        good_file(table / "dt=2026-11-21" / "a.parquet")
        bytes_file(table / log, b"{}")
        refused(bench, 2, "--ignore-table-format", "--input", table)
        refused(bench, 2, "--ignore-table-format", "--input", table / "dt=2026-11-21")
    all_the_same = bench.here(bench.folder / "all-the-same")
    bytes_file(all_the_same.source / "_delta_log" / "00000000000000000000.json", b"{}")
    every = [good_file(all_the_same.source / "dt=2026-11-21" / name) for name in ("a.parquet", "b.parquet")]
    all_the_same.night(every, "--ignore-table-format").assert_nothing_lost()


def columns_that_no_file_has_are_refused(bench: Bench) -> None:
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        write_pairs(bench.source / name, made_up_pairs(5, seed=3).rename_columns(["pair_id", "s1", "s2", "topic"]))
    for outcome in (bench.label(), bench.label(*PUBLISH_ALL)):
        assert (outcome.exit_code, len(outcome.errors), outcome.report) == (2, 1, ""), outcome.stderr
        assert (
            "none of 3 files has it; the columns of the first are `pair_id`, `s1`, `s2`, `topic`" in outcome.errors[0]
        )
        assert "--premise-column and --hypothesis-column" in outcome.errors[0]
    assert not bench.output.exists()


def a_text_that_stops_the_tokenizer_is_set_aside(bench: Bench) -> None:
    model = bench.folder / "model"
    shutil.copytree(bench.checkpoint, model)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    # Each checkpoint's tokenizer is tried with these two letters.
    letters = {"w91": "a", "w92": "b"}
    words = {letters.get(word, word): number for word, number in tokenizer.get_vocab().items()}
    tokenizer.model = WordLevel(words, unk_token="[NONE]")  # noqa: S106  (no password)
    tokenizer.save(str(model / "tokenizer.json"))
    premises = pa.array(["w1", "w2", "zebra w1", "w3", "w4"])
    night = bench.night([good_file(bench.source / "a.parquet", premise=premises)], model=model)
    assert {row: told["rejection"] for row, told in night.rejected.items()} == {("a.parquet", 2): "tokenizer_failed"}
    assert "zebra" not in night.rejected["a.parquet", 2]["detail"]
    night.assert_nothing_lost()


def a_model_that_cannot_be_trusted_is_refused(bench: Bench) -> None:
    model = bench.folder / "model"
    refused(bench, 2, "model", "--model", bench.folder / "no-model")
    for damage in (_pickles_only, _auto_map, _two_labels, _foreign_tokenizer, _damaged_weights):
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(bench.checkpoint, model)
        damage(model)
        refused(bench, 2, "model", "--model", model)


def _pickles_only(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _auto_map(model: Path) -> None:
    _configure(model, auto_map={"AutoModelForSequenceClassification": "evil.Model"})


def _two_labels(model: Path) -> None:
    _configure(model, id2label={"0": "entailment", "1": "neutral"}, label2id={"entailment": 0, "neutral": 1})


def _configure(model: Path, **changes: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **changes}))


def _foreign_tokenizer(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"x{number}": number for number in range(100, 50_000)}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


def _damaged_weights(model: Path) -> None:
    data = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(data[: len(data) // 2])


def a_path_that_names_no_night_is_refused(bench: Bench) -> None:
    for segment in ("dt=", "dt={date}", "dt=$DATE", "dt=20261121", "dt=2026-13-01", "dt=2999-01-01"):
        refused(bench, 2, segment, "--output", bench.folder / segment / "labels")
        refused(bench, 2, segment, "--input", bench.folder / segment)
    refused(bench, 2, "'..'", "--output", "s3://labels/a/../b")


def output_over_input_is_refused(bench: Bench) -> None:
    for output in (bench.source, bench.source / "labels", bench.folder):
        refused(bench, 2, str(output), "--output", output)


def held_back(bench: Bench) -> None:
    """A night of two units that is labelled and not published: one row too many has no label."""
    good_file(bench.source / "a.parquet", 20, premise=pa.array([None, *["w1"] * 19], pa.string()))
    outcome = bench.label("--max-rejected-share", 0)
    assert (outcome.exit_code, len(staged_units(bench.output))) == (3, 2)


def integrity_is_a_persons_matter(bench: Bench, spoil: Callable[[Path], Path]) -> None:
    held_back(bench)
    spoiled = spoil(bench.output)
    before = state_of(bench.output, "_units/*")
    outcome = bench.label("--max-rejected-share", 1)
    assert (outcome.exit_code, len(outcome.errors)) == (5, 1)
    assert spoiled.name in outcome.errors[0]
    assert (visible_files(bench.output), state_of(bench.output, "_units/*")) == ([], before)


def foreign_unit(output: Path) -> Path:
    """Another unit's object under the key of the first."""
    first, second = staged_units(output)
    first.write_bytes(second.read_bytes())
    return first


def foreign_plan(output: Path) -> Path:
    (plan,) = (output / "_runs").glob("*/plan.json")
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "plan_id": "0" * 16}))
    return plan


def another_plan_is_published_meanwhile(bench: Bench) -> None:
    other = bench.here(bench.folder / "other")
    other.night([good_file(other.source / "x.parquet", 20)]).assert_nothing_lost()
    many_pairs(bench)

    def publish_other() -> None:
        for path in [*other.output.glob("part-*"), other.output / "_SUCCESS"]:
            shutil.copy(path, bench.output / path.name)

    outcome = label_while(bench, publish_other)
    assert (outcome.exit_code, len(outcome.errors)) == (6, 1)
    # What stands is the other's, and our work waits for a --replace.
    assert manifest_of(bench.output) == manifest_of(other.output)
    assert visible_files(bench.output) == visible_files(other.output)
    night = bench.night([Written(bench.source / "a.parquet", 480, range(480))], "--replace")
    night.assert_nothing_lost()
    assert night.report["units"] == {"done_before": 480 // UNIT_ROWS, "labelled": 0}


# What each is, and what it must get: a rejected row, a quarantined file or unit, a start that is refused (exit 2), a
# night that is held back (3 to 6), or labels as any other row gets.
CASES: dict[str, Callable[[Bench], None]] = {
    "1-premise-null": case(is_rejected, "null premise", reason="null_text"),
    "2-hypothesis-null": case(is_rejected, "null hypothesis", reason="null_text"),
    "3-text-blank": case(is_rejected, "empty", "blank", reason="empty_text"),
    "4-text-over-the-soft-cap": case(is_labelled, "over the soft cap", truncated=True),
    "5-text-over-the-hard-cap": case(is_rejected, "over the hard cap", reason="text_too_long"),
    "6-text-not-utf8": bad_utf8_keeps_its_bytes,
    "7-control-characters": case(is_labelled, "control characters"),
    "8-unknown-tokens-only": case(is_labelled, "emoji"),
    "9-id-twice-in-a-file": ids_are_counted,
    "10-id-in-two-files": ids_are_counted,
    "11-id-null": ids_are_counted,
    "12-id-float": case(is_a_bad_unit, "id-float.parquet", "schema_id", 0, 5),
    "13-id-of-two-widths": integer_ids_become_one_type,
    "14-id-of-another-type": case(is_quarantined, "id-int.parquet", reason="schema_id", told="int64, not string"),
    "15-zero-bytes": case(is_quarantined, "zero.parquet", reason="empty_object"),
    "16-not-parquet": case(is_quarantined, "html.parquet", reason="not_parquet"),
    "17-cut-off": case(is_quarantined, "cut.parquet", reason="bad_footer"),
    "18-page-checksum": case(is_a_bad_unit, "page-crc.parquet", "bad_page", UNIT_ROWS, 9),
    "19-page-undecodable": case(is_a_bad_unit, "page-codec.parquet", "bad_page", UNIT_ROWS, 9),
    "20-codec-not-built-in": case(is_quarantined, "lzo.parquet", "codec-33.parquet", reason="codec"),
    "21-encrypted": case(is_quarantined, "encrypted.parquet", reason="encrypted"),
    "22-no-rows": a_file_without_rows_is_input,
    "23-column-missing": case(is_quarantined, "column-missing.parquet", reason="schema_missing", told="hypothesis"),
    "24-column-in-another-case": case(
        is_quarantined, "column-case.parquet", reason="schema_missing", told="but `Hypothesis`"
    ),
    "25-column-twice": case(is_quarantined, "column-twice.parquet", reason="schema_duplicate_column"),
    "26-text-of-another-type": case(
        is_quarantined,
        "type-int.parquet",
        "type-list.parquet",
        "type-struct.parquet",
        "type-binary.parquet",
        reason="schema_type",
        told="premise",
    ),
    "27-text-of-other-string-types": case(
        is_labelled_whole, "kind-dictionary.parquet", "kind-large.parquet", "kind-view.parquet"
    ),
    "28-text-of-null-type": texts_of_null_type_are_null,
    "29-pickled-objects": a_pickle_is_never_opened,
    "30-columns-not-asked-for": case(is_labelled_whole, "extra.parquet"),
    "31-columns-named-like-ours": case(is_labelled_whole, "ours.parquet"),
    "32-key-like-a-hive-partition": path_values_are_no_columns,
    "33-odd-key": case(is_labelled_whole, "a b+c%20d é 日本 {x} $y.parquet"),
    "34-hidden-objects": case(
        is_ignored, "_tmp.parquet", ".a.parquet.crc", "_SUCCESS", "_temporary/0/x.parquet", rule="hidden"
    ),
    "35-other-objects": case(is_ignored, "notes.txt", "table.csv", rule="not_parquet"),
    "36-too-many-rows-claimed": case(is_quarantined, "rows.parquet", reason="limit_rows", told=str(MANY_ROWS)),
    "37-dictionary-bomb": case(is_a_bad_unit, "bomb.parquet", "limit_decoded_bytes", UNIT_ROWS, UNIT_ROWS),
    "38-fewer-rows-than-the-footer-says": case(is_a_bad_unit, "one-more.parquet", "row_count", 0, 16),
    "40-input-changes-meanwhile": an_input_that_changes_holds_the_night_back,
    "41-file-arrives-late": a_late_file_is_labelled_next,
    "44-no-input": an_empty_input_is_refused,
    "45-only-bad-files": only_bad_files_are_no_input,
    "48-tokenizer-raises": a_text_that_stops_the_tokenizer_is_set_aside,
    "49-model-not-to-be-trusted": a_model_that_cannot_be_trusted_is_refused,
    "50-path-without-a-night": a_path_that_names_no_night_is_refused,
    "52-output-over-input": output_over_input_is_refused,
    "53-foreign-object-under-our-key": case(integrity_is_a_persons_matter, spoil=foreign_unit),
    "54-foreign-plan-under-our-key": case(integrity_is_a_persons_matter, spoil=foreign_plan),
    "55-another-plan-published-meanwhile": another_plan_is_published_meanwhile,
    "57-copies-and-half-written-files": case(is_ignored, *COPIES, rule="copy"),
    "58-partition-with-an-underscore": case(is_labelled_whole, "_day=2026-11-21/hive.parquet"),
    "59-nothing-but-objects-left-out": only_objects_left_out_are_refused,
    "60-files-of-a-table": files_of_a_table_are_refused,
    "61-columns-that-no-file-has": columns_that_no_file_has_are_refused,
}


# While the job goes on, the input or the output changes: it is a program of its own.
MEANWHILE = {"40-input-changes-meanwhile", "55-another-plan-published-meanwhile"}
# These have starts of their own, which take time. The others look at the shared night.
OWN_STARTS = {"41-file-arrives-late", "49-model-not-to-be-trusted", "50-path-without-a-night", "60-files-of-a-table"}
MARKS = dict.fromkeys(MEANWHILE, pytest.mark.process) | dict.fromkeys(OWN_STARTS, pytest.mark.computes)


@pytest.mark.parametrize("case", [pytest.param(case, marks=MARKS.get(case, ())) for case in CASES])
def test_a_bad_input_gets_what_it_must_and_nothing_beside_it_is_lost(shared: Bench, tmp_path: Path, case: str) -> None:
    CASES[case](shared.here(tmp_path))


# Inputs that take a fault, a server or a checkpoint of their own are tried beside those.
ELSEWHERE: Final = {
    "39-unit-that-kills-its-workers": "test_faults.test_a_unit_that_kills_its_workers_is_given_up_and_tried_again",
    "42-archived-object": "test_job_access.test_an_archived_object_is_a_bad_file_and_the_limit_decides",
    "43-object-that-may-not-be-read": "test_job_access.test_an_object_that_may_not_be_read_is_refused_at_planning",
    "46-logits-not-finite": "test_classification.test_a_word_of_no_finite_meaning_rejects_its_pairs",
    "47-device-out-of-memory": "test_classification.test_a_pair_without_memory_is_rejected",
    "51-output-not-fit-to-write": "test_job_access.test_an_output_that_ignores_if_none_match_is_refused",
    "56-spill-disk-full": "test_pressure.test_a_full_spill_disk_ends_the_run_with_4",
}


def test_every_bad_input_of_the_list_is_tried() -> None:
    assert sorted(int(name.partition("-")[0]) for name in [*CASES, *ELSEWHERE]) == list(range(1, 62))
    for place in ELSEWHERE.values():
        module, _, name = place.partition(".")
        assert f"def {name}" in Path(__file__).with_name(f"{module}.py").read_text(), place
