"""A recount sees every damage to a published run that files alone, or files and input, can show; and no other."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from job_runs import (
    RAY_WARNING,
    Outcome,
    break_page,
    made_up_pairs,
    run_inline,
    write_pairs,
)
from pairs import FILE_PROPERTY
from published_runs import Manifest, PublishedRun, put, put_column, rewrite, rotated, swap_first_rows, take
from s3_server import S3Location, S3Server
from verify_labels import main

from albert_infer.verification.claims import Pin, PlannedUnit, RowRange
from albert_infer.verification.columns import OutputColumns
from albert_infer.verification.comparison import InputRows, compare_unit
from albert_infer.verification.findings import Finding
from albert_infer.verification.recount import OpenUnit
from albert_infer.verification.rules import RowFaults, note_window_faults

SHARES = {"p_entailment": 0.25, "p_neutral": 0.5, "p_contradiction": 0.25}

LIMITS = ("--unit-rows", 16, "--max-bad-files", 9, "--max-rejected-share", 1)


@pytest.fixture(scope="module")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    """Five units of two files, 64 rows: 54 labelled, 2 rejected, 8 in a quarantined unit; and a quarantined file."""
    return published_in(tmp_path_factory.mktemp("published"), checkpoint, "--carry", "topic", "--review-below", 0.6)


@pytest.fixture(scope="module")
def sourced(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    """The same with `source_file` and `source_row`."""
    return published_in(tmp_path_factory.mktemp("sourced"), checkpoint, "--carry-source")


def published_in(folder: Path, checkpoint: Path, *more: object) -> PublishedRun:
    run = PublishedRun(folder / "in", folder / "out")
    pairs = made_up_pairs(40, seed=1)
    # Rows 3 and 20 have no label: one in each of the first two units.
    premises = pairs["premise"].to_pylist()
    premises[3], premises[20] = None, " "
    write_pairs(run.source / "a.parquet", pairs.set_column(1, "premise", pa.array(premises, pa.string())))
    break_page(write_pairs(run.source / "b.parquet", made_up_pairs(24, seed=2)), 1)
    (run.source / "c.parquet").touch()
    outcome = run_inline("--input", run.source, "--output", run.output, "--model", checkpoint, *LIMITS, *more)
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    return run


def verified(run: PublishedRun, *, with_input: bool) -> Outcome:
    source = ("--input", run.source) if with_input else ()
    return verify("--output", run.output, *source)


def verify(*argv: object) -> Outcome:
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        exit_code = main([str(word) for word in argv])
    return Outcome(exit_code, stdout.getvalue(), stderr.getvalue())


def findings(outcome: Outcome) -> list[str]:
    """What was found, and that the rest of the outcome goes with it."""
    found = [line for line in outcome.stdout.splitlines() if line.startswith("finding ")]
    assert outcome.exit_code == (5 if found else 0), (outcome.stdout, outcome.stderr)
    assert outcome.stderr.count("\n") == bool(found)
    return found


# --- what is right


@pytest.mark.parametrize("with_input", [False, True])
def test_an_undamaged_run_passes(published: PublishedRun, sourced: PublishedRun, with_input: bool) -> None:
    for run in (published, sourced):
        outcome = verified(run, with_input=with_input)
        assert findings(outcome) == []
        assert (outcome.exit_code, outcome.stderr) == (0, "")
        assert "54 rows in 4 files" in outcome.stdout
        assert "1 file and 1 unit, with at least 8 rows" in outcome.stdout
        assert ("56 rows equal those of" in outcome.stdout) == with_input


def test_a_moved_copy_of_input_and_output_passes(published: PublishedRun, tmp_path: Path) -> None:
    assert findings(verified(published.copied(tmp_path), with_input=True)) == []


def odd_pairs(rows: int) -> pa.Table:
    """Texts, ids and columns of every kind that the job takes, with nulls and NaN among what is carried."""
    pairs = made_up_pairs(rows, seed=5)
    return pa.table(
        {
            "left": pairs["premise"].dictionary_encode(),
            "right": pairs["hypothesis"].cast(pa.large_string()),
            "key": pa.array([None if row % 5 == 0 else row for row in range(rows)], pa.int32()),
            "share": pa.array([[None, float("nan"), row / 3][row % 3] for row in range(rows)]),
            "vector": pa.array([[row, float("nan")] for row in range(rows)], pa.list_(pa.float32())),
            "about": pa.array([{"when": row, "who": None if row % 2 else "w"} for row in range(rows)]),
            "kind": pairs["topic"].cast(pa.string()).dictionary_encode(),
            "raw": pa.array([bytes([row, 255]) for row in range(rows)]),
            "seen": pa.array(range(rows), pa.timestamp("us", "UTC")),
        }
    )


@pytest.mark.computes
def test_any_type_of_column_is_compared_by_its_values(checkpoint: Path, tmp_path: Path) -> None:
    run = PublishedRun(tmp_path / "in", tmp_path / "out")
    # One row group of three units.
    write_pairs(run.source / "a.parquet", odd_pairs(40), group_rows=40)
    columns = ("--premise-column", "left", "--hypothesis-column", "right", "--id-column", "key", "--carry", "all")
    outcome = run_inline("--input", run.source, "--output", run.output, "--model", checkpoint, *LIMITS, *columns)
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    assert findings(verified(run, with_input=True)) == []
    changes: dict[str, object] = {
        "pair_id": 99,
        "share": 9.0,
        "vector": [9.0],
        "about": {"when": 9, "who": None},
        "raw": b"",
    }
    for number, (column, value) in enumerate(changes.items()):
        damaged = run.copied(tmp_path / str(number))
        rewrite(damaged.parts[1], put(column, 5, value))
        damaged.believe_files()
        (found,) = findings(verified(damaged, with_input=True))
        assert f"the file's row 5 to be row 21 of {damaged.source / 'a.parquet'}; found another {column}" in found


@pytest.mark.computes
@FILE_PROPERTY
@given(st.lists(st.integers(0, 9000), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_rows_are_compared_across_any_row_groups_units_and_batches(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("compared")
    generator = np.random.default_rng(seed)
    rows = sum(groups)
    pairs = pa.table({name: pa.array([f"{name} {row}" for row in range(rows)]) for name in ("premise", "hypothesis")})
    with pq.ParquetWriter(folder / "in", pairs.schema) as writer:
        for group, stop in zip(groups, np.cumsum(groups), strict=True):
            writer.write_table(pairs.slice(stop - group, group), row_group_size=max(group, 1))
    columns = OutputColumns((("premise", "premise"), ("hypothesis", "hypothesis")), with_source=False, max_tokens=9)
    source = InputRows(pq.ParquetFile(folder / "in"), columns)
    cuts = np.unique([0, rows, *generator.integers(0, rows + 1, 3)])
    for first, stop in pairwise(map(int, cuts)):
        rejected = np.flatnonzero(generator.random(stop - first) < 0.2) + first
        kept = np.setdiff1d(np.arange(first, stop), rejected)
        assert compared(folder, source, pairs, (first, stop), kept, rejected) == []
        if len(kept) > 1:
            at = int(generator.integers(len(kept) - 1))
            place = f"the file's row {at} to be row {kept[at]} of"
            swapped = [*kept[:at], kept[at + 1], kept[at], *kept[at + 2 :]]
            for wrong, named in (
                (swapped, place),
                ([*kept[:at], *kept[at + 1 :]], place),
                (kept[:-1], f"expected row {kept[-1]} of"),
                ([*kept[:at], kept[at], *kept[at:]], f"the file's row {at + 1} to be row {kept[at + 1]} of"),
                ([*kept, kept[-1]], f"no row after those of in; found another one, the file's row {len(kept)}"),
            ):
                (found,) = compared(folder, source, pairs, (first, stop), np.array(wrong), rejected)
                assert named in str(found)


def compared(
    folder: Path, source: InputRows, pairs: pa.Table, rows: tuple[int, int], kept: Any, rejected: Any
) -> list[Finding]:
    """Compare a unit of `source` with files that have the rows `kept` and `rejected` of `pairs`."""
    part = pairs.take(pa.array(kept, pa.int64())).append_column("label", pa.array(["neutral"] * len(kept)))
    pq.write_table(part, folder / "part")
    pq.write_table(pa.table({"source_row": pa.array(rejected, pa.int64())}), folder / "rejected")
    unit = PlannedUnit(
        unit_id="u", pin=Pin(name="in", size=0, version=""), range=RowRange(first_row=rows[0], rows=rows[1] - rows[0])
    )
    opened = OpenUnit(unit, pq.ParquetFile(folder / "part"), pq.ParquetFile(folder / "rejected"), rejected)
    return compare_unit(source, "in", opened)


# --- what is wrong


@dataclass(frozen=True)
class Damage:
    """What is done to a run, and what a finding then names; `{0}` is the unit of part 0, `{part0}` its file."""

    do: Callable[[PublishedRun], object]
    named: str
    # Whether only the input can show it.
    input_only: bool = False


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def part(number: int, *changes: Callable[[pa.Table], pa.Table]) -> Callable[[PublishedRun], None]:
    """Change the rows of a part."""

    def changed(run: PublishedRun) -> None:
        for change in changes:
            rewrite(run.parts[number], change)

    return changed


def aside(number: int, change: Callable[[pa.Table], pa.Table]) -> Callable[[PublishedRun], None]:
    """Change the rows of a file of rejected rows."""
    return lambda run: rewrite(run.rejected[number], change)


def told(key: str, value: object) -> Callable[[PublishedRun], None]:
    """Change what `_SUCCESS` says under a dotted key; a number is added."""
    *path, last = (int(name) if name.isdecimal() else name for name in key.split("."))

    def change(manifest: Any) -> None:
        for name in path:
            manifest = manifest[name]
        manifest[last] = manifest[last] + value if isinstance(value, int) else value

    return lambda run: run.tell(change)


def dropped(*keys: str) -> Callable[[PublishedRun], None]:
    """Take the first entry out of lists of `_SUCCESS`."""

    def change(manifest: Any) -> None:
        for key in keys:
            entries = manifest
            for name in key.split("."):
                entries = entries[name]
            entries.pop(0)

    return lambda run: run.tell(change)


def added(name: str) -> Callable[[PublishedRun], None]:
    """Put a copy of the first part into the folder."""

    def add(run: PublishedRun) -> None:
        (run.output / name).parent.mkdir(exist_ok=True)
        shutil.copy(run.parts[0], run.output / name)

    return add


def replaced(run: PublishedRun) -> None:
    added("part-00000000000000ab.parquet")(run)
    run.tell(lambda manifest: manifest["replaces"].append("part-00000000000000ab.parquet"))


def doubled_unit(run: PublishedRun) -> None:
    run.tell(lambda manifest: manifest["files"].append(manifest["files"][0]))


def also_quarantined(run: PublishedRun) -> None:
    unit = {"unit_id": run.manifest["files"][0]["unit_id"], "first_row": 0, "rows": 16}
    entry = {**run.manifest["quarantined"]["units"][0], **unit, "uri": str(run.source / "a.parquet")}
    run.tell(lambda manifest: manifest["quarantined"]["units"].append(entry))


def relabelled(run: PublishedRun) -> None:
    moved = ("label", "p_entailment", "p_neutral", "p_contradiction", "needs_review")
    part(0, *(put_column(name, rotated) for name in moved))(run)


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def reversed_files(manifest: Manifest) -> None:
    manifest["files"].reverse()


def renamed(old: str, new: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.rename_columns([new if name == old else name for name in table.column_names])


def wider(column: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(column), column, table[column].cast(kind))


ROWS = range(15)
# What happens to files that are published, and what writes to their folder.
TO_FILES = {
    "a flipped byte": Damage(lambda run: flip(run.parts[0]), "sha256"),
    "a flipped byte of a rejected row": Damage(lambda run: flip(run.rejected[0]), "_rejected/{part0}"),
    "a deleted part": Damage(lambda run: run.parts[1].unlink(), "{part1}"),
    "deleted rejected rows": Damage(lambda run: run.rejected[1].unlink(), "_rejected/{part1}"),
    "a truncated part": Damage(lambda run: os.truncate(run.parts[2], 700), "{part2}: expected readable"),
    "an emptied part": Damage(lambda run: os.truncate(run.parts[2], 0), "{part2}: expected bytes"),
    "a row doubled": Damage(part(0, take(*ROWS, 7)), "15; found 16"),
    "a foreign part": Damage(added("part-00000000000000ff.parquet"), "part-00000000000000ff.parquet"),
    "a foreign file that would be a line": Damage(added("x\nsummary 1\x1b.parquet"), r"x\nsummary 1\x1b.parquet"),
    "a foreign file in a folder": Damage(added("more/x.parquet"), "more/x.parquet"),
    "a file that is no Parquet": Damage(lambda run: (run.output / "notes.txt").touch(), "notes.txt"),
    "foreign rejected rows": Damage(added("_rejected/part-00000000000000ff.parquet"), "_rejected/part-0000"),
    "what an older run left": Damage(replaced, "no file of the run that was replaced"),
    "no plan": Damage(lambda run: run.plan_path.unlink(), "plan.json: expected the plan"),
    "no manifest": Damage(lambda run: (run.output / "_SUCCESS").write_text("{"), "_SUCCESS: expected a manifest"),
    "labels and probabilities that moved": Damage(relabelled, "sha256"),
}  # fmt: skip
# What a job might write and believe: `_SUCCESS` is true of every file of these.
BELIEVED = {
    "a row doubled": Damage(part(0, take(*ROWS, 7)), "unit {0}: expected its 16 rows; found 16 labelled and 1"),
    "a row dropped": Damage(part(0, take(*ROWS[1:])), "unit {0}: expected its 16 rows; found 14 labelled and 1"),
    "all rows dropped": Damage(part(3, take()), "unit {3}: expected its 16 rows; found 0 labelled"),
    "a row doubled and another dropped": Damage(part(0, take(*ROWS[1:], 7)), "row 0 of", input_only=True),
    "two rows swapped": Damage(part(0, take(1, 0, *ROWS[2:])), "the file's row 0 to be row 0 of", input_only=True),
    "rows of two units swapped": Damage(
        lambda run: swap_first_rows(run.parts[0], run.parts[1]), "labelled rows of unit {1}", input_only=True
    ),
    "the part of another unit": Damage(
        lambda run: shutil.copy(run.parts[0], run.parts[1]), "{part1}: expected a footer of unit {1}; found {0}"
    ),
    "a rejected row that is labelled too": Damage(part(0, take(0, 1, 2, 2, *ROWS[3:])), "16 labelled and 1 rejected"),
    "a rejected row labelled in place of another": Damage(
        part(0, take(0, 1, 2, 2, *ROWS[3:-1])), "the file's row 3 to be row 4 of", input_only=True
    ),
    "another row rejected": Damage(aside(0, put("source_row", 0, 4)), "row 3 of", input_only=True),
    "the rejected row of another unit": Damage(aside(0, put("source_row", 0, 30)), "source_row from 0 to 15"),
    "a rejected row doubled": Damage(aside(0, take(0, 0)), "source_row above that of the row before"),
    "a rejected row's id": Damage(aside(0, put("pair_id", 0, "x")), "rejected rows of unit {0}", input_only=True),
    "a rejected row of another file": Damage(aside(0, put("source_file", 0, "x")), "expected source_file"),
    "an unknown rejection": Damage(aside(0, put("rejection", 0, "odd")), "closed list"),
    "labels shifted by one row": Damage(part(0, put_column("label", rotated)), "the label of the largest"),
    "a label that is not the argmax": Damage(part(2, put("p_neutral", 5, 9.0)), "first the file's row 5"),
    "a label that is none": Damage(part(0, put("label", 2, "maybe")), "a label of entailment"),
    "no label": Damage(part(0, put("label", 2, None)), "a label in every row"),
    "a NaN": Damage(part(0, put("p_neutral", 2, float("nan"))), "finite probabilities"),
    "no probability": Damage(part(0, put("p_neutral", 2, None)), "a p_neutral in every row"),
    "probabilities that do not sum to 1": Damage(part(0, put_column("p_neutral", lambda p: [x / 2 for x in p])), "sum"),
    "a negative probability": Damage(
        part(0, put("p_neutral", 0, -1.0), put("p_entailment", 0, 2.0), put("p_contradiction", 0, 0.0)), "from 0 to 1"
    ),
    "too many tokens": Damage(part(0, put("n_tokens", 2, 41)), "n_tokens from 1 to 40"),
    "a review that is not needed": Damage(part(0, put_column("needs_review", lambda x: [not y for y in x])), "0.6 or"),
    "no word on review": Damage(part(0, put("needs_review", 2, None)), "a needs_review in every row"),
    "review of another type": Damage(part(0, wider("needs_review", pa.int8())), "column needs_review of type bool"),
    "a premise of another row": Damage(part(0, put("premise", 2, "w1")), "another premise", input_only=True),
    "no premise": Damage(part(0, put("premise", 2, None)), "a premise in every row"),
    "hypotheses shifted by one row": Damage(
        part(0, put_column("hypothesis", rotated)), "another hypothesis", input_only=True
    ),
    "another id": Damage(part(0, put("pair_id", 14, "x")), "the file's row 14 to be row 15", input_only=True),
    "another carried value": Damage(part(0, put("topic", 2, 99)), "another topic", input_only=True),
    "a column of another name": Damage(part(0, renamed("topic", "theme")), "expected columns"),
    "a column of another type": Damage(part(0, wider("n_tokens", pa.int64())), "n_tokens of type int32; found int64"),
    "a carried column of another type": Damage(part(0, wider("topic", pa.int64())), "columns and types of"),
}  # fmt: skip
# What `_SUCCESS` or the plan says, of files that are as they were.
TOLD = {
    "too many rows in": Damage(told("rows_in", 1), "rows_in"),
    "too many labelled": Damage(told("labelled", 1), "labelled 55; found 54"),
    "too few rejected": Damage(told("rejected.null_text", -1), "expected rejected "),
    "labels of another number": Damage(told("labels.neutral", 1), "expected labels "),
    "tokens of another number": Damage(told("tokens", 1), "expected tokens "),
    "truncated pairs of another number": Damage(told("truncated", 1), "expected truncated "),
    "rows to review of another number": Damage(told("needs_review", 1), "expected needs_review "),
    "fewer rows of a file": Damage(told("files.0.rows", -1), "{part0}: expected rows 14; found 15"),
    "a summary of another number": Damage(told("files.0.summary.tokens", 1), "the summary of {part0}"),
    "a file under another name": Damage(told("files.0.path", "part-x.parquet"), "part-x.parquet"),
    "a file outside the folder": Damage(told("files.0.path", "../in/a.parquet"), "../in/a.parquet"),
    "a labelled unit is missing": Damage(dropped("files", "rejected_files"), "unit {0}: expected _SUCCESS to name it"),
    "its rejected rows are missing": Damage(dropped("rejected_files"), "unit {0}: expected its 16 rows"),
    "a unit is named twice": Damage(doubled_unit, "unit {0}: expected _SUCCESS to name it once"),
    "a unit is labelled and quarantined": Damage(also_quarantined, "1 times labelled, 1 with rejected rows, 1 quar"),
    "a unit that is not planned": Damage(told("files.0.unit_id", "00000000000000cd"), "unit 00000000000000cd"),
    "files in another order": Damage(lambda run: run.tell(reversed_files), "order of the input"),
    "a quarantined unit is missing": Damage(dropped("quarantined.units"), "0 quarantined"),
    "fewer quarantined rows": Damage(told("quarantined.rows_known", -1), "rows_known 8; found 7"),
    "a smaller quarantined unit": Damage(told("quarantined.units.0.rows", -1), "rows 8; found 7"),
    "a quarantined unit of other rows": Damage(told("quarantined.units.0.first_row", -16), "first row 16; found 0"),
    "a quarantined file is missing": Damage(dropped("quarantined.files"), "c.parquet"),
    "an input file is missing": Damage(dropped("inputs"), "a.parquet"),
    "an input file of another size": Damage(told("inputs.1.size", 1), "b.parquet"),
    "an input file of other rows": Damage(told("inputs.1.rows", 1), "b.parquet"),
    "another plan": Damage(lambda run: run.plan(lambda plan: plan.update(plan_id="x")), "plan_id"),
    "a format to come": Damage(told("format", 1), "format: "),
    "a key is missing": Damage(lambda run: run.tell(lambda manifest: manifest.pop("rows_in")), "rows_in: "),
    "a number as text": Damage(told("labelled", "54"), "labelled: "),
    "a unit of the plan that overlaps": Damage(
        lambda run: run.plan(lambda plan: plan["units"][1]["range"].update(first_row=15)), "begins at row 16"
    ),
    "a unit of the plan that leaves a gap": Damage(
        lambda run: run.plan(lambda plan: plan["units"][1]["range"].update(rows=15)), "begins at row 31"
    ),
    "a plan without its last unit": Damage(
        lambda run: run.plan(lambda plan: plan["units"].pop()), "b.parquet: expected units of all its 24 rows"
    ),
    "a unit of the plan twice": Damage(
        lambda run: run.plan(lambda plan: plan["units"].append(plan["units"][0])), "expected unit {0} once"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("n_windows", 0, "n_windows of 1 or more"),
        ("n_windows", None, "n_windows of 1 or more"),
        ("n_tokens", 119, "40 for each of several windows"),
        ("n_tokens", 160, "40 for each of several windows"),
        ("n_windows", 1, "n_tokens from 1 to 40"),
        ("truncated", True, "no truncated pair in a run with windows"),
    ],
)
def test_rows_in_windows_have_full_ones_and_are_not_truncated(column: str, value: object, rule: str) -> None:
    good: dict[str, list[Any]] = {"n_tokens": [7, 40, 120], "n_windows": [1, 1, 3], "truncated": [False] * 3}
    for rows, broken in ((good, False), ({**good, column: [*good[column][:2], value]}, True)):
        faults = RowFaults("part-x.parquet")
        note_window_faults(faults, 0, pa.RecordBatch.from_pydict(rows), 40)
        assert [rule in str(finding) for finding in faults.findings()][:1] == [True] * broken


# As `BELIEVED`, where the files have `source_file` and `source_row`.
SOURCED = {
    "a row doubled and another dropped": Damage(part(0, take(*ROWS[1:], 7)), "source_row above that of the row before"),
    "a row in place of another": Damage(part(0, put("source_row", 0, 3)), "each source_row from 0 to 15 once"),
    "two rows swapped": Damage(part(0, take(1, 0, *ROWS[2:])), "source_row above that of the row before"),
    "rows of two units swapped": Damage(
        lambda run: swap_first_rows(run.parts[0], run.parts[1]), "unit {0}: expected each source_row"
    ),
    "a row of another file": Damage(part(0, put("source_file", 9, "x")), "expected source_file"),
}
# What happens to the input after the run; nobody sees it who does not look there.
OF_INPUT = {
    "a file is changed": Damage(lambda run: flip(run.source / "a.parquet"), "a.parquet: expected the file of the plan"),
    "a file is touched": Damage(
        lambda run: touch(run.source / "b.parquet"), "b.parquet: expected the file of the plan"
    ),
    "a file is gone": Damage(
        lambda run: (run.source / "a.parquet").unlink(), "a.parquet: expected the file of the plan"
    ),
    "a quarantined file is mended": Damage(
        lambda run: (run.source / "c.parquet").write_bytes(b"PAR1"), "c.parquet: expected the file of the plan, 0 bytes"
    ),
    "a quarantined file is gone": Damage(lambda run: (run.source / "c.parquet").unlink(), "c.parquet"),
    "a late file": Damage(
        lambda run: (run.source / "late.parquet").touch(), "late.parquet: expected a file of the plan"
    ),
    "a late file of another name": Damage(
        lambda run: (run.source / "d").write_bytes(b"PAR1"), "without rows in the run"
    ),
}


def assert_found(damage: Damage, run: PublishedRun, *, believed: bool, with_input: bool) -> None:
    """Damage the run; what is then found names it, or nothing is found where only the input could show it."""
    ids = [entry["unit_id"] for entry in run.manifest["files"]]
    parts = {f"part{place}": entry["path"] for place, entry in enumerate(run.manifest["files"])}
    damage.do(run)
    if believed:
        run.believe_files()
    found = findings(verified(run, with_input=with_input))
    if damage.input_only and not with_input:
        assert found == []
    else:
        named = damage.named.format(*ids, **parts)
        assert [line for line in found if named in line], (named, found)


@pytest.mark.parametrize("with_input", [False, True])
@pytest.mark.parametrize("case", TO_FILES)
def test_what_happens_to_published_files_is_found(
    published: PublishedRun, tmp_path: Path, case: str, with_input: bool
) -> None:
    assert_found(TO_FILES[case], published.copied(tmp_path), believed=False, with_input=with_input)


@pytest.mark.parametrize("with_input", [False, True])
@pytest.mark.parametrize("case", BELIEVED)
def test_rows_that_are_wrong_are_found_though_the_manifest_is_true_of_its_files(
    published: PublishedRun, tmp_path: Path, case: str, with_input: bool
) -> None:
    assert_found(BELIEVED[case], published.copied(tmp_path), believed=True, with_input=with_input)


@pytest.mark.parametrize("with_input", [False, True])
@pytest.mark.parametrize("case", TOLD)
def test_a_manifest_or_plan_that_is_not_true_is_found(
    published: PublishedRun, tmp_path: Path, case: str, with_input: bool
) -> None:
    assert_found(TOLD[case], published.copied(tmp_path), believed=False, with_input=with_input)


@pytest.mark.parametrize("case", SOURCED)
def test_the_rows_source_shows_without_the_input_which_rows_are_there(
    sourced: PublishedRun, tmp_path: Path, case: str
) -> None:
    assert_found(SOURCED[case], sourced.copied(tmp_path), believed=True, with_input=False)


@pytest.mark.parametrize("case", OF_INPUT)
def test_an_input_that_is_not_what_was_planned_is_found(published: PublishedRun, tmp_path: Path, case: str) -> None:
    run = published.copied(tmp_path)
    OF_INPUT[case].do(run)
    assert findings(verified(run, with_input=False)) == []
    (found,) = findings(verified(run, with_input=True))
    assert OF_INPUT[case].named in found


def test_what_is_no_input_is_not_missed(published: PublishedRun, tmp_path: Path) -> None:
    run = published.copied(tmp_path)
    unread = ("_later.parquet", ".later.parquet", "notes.txt", "_temporary/x.parquet", "a.parquet.bak", "a.parquet~")
    for name in unread:
        (run.source / name).parent.mkdir(exist_ok=True)
        (run.source / name).write_text("PAR1" if name.startswith("a") else "PAR")
    assert findings(verified(run, with_input=True)) == []


def test_labels_that_moved_with_their_probabilities_before_the_file_was_written_are_not_seen(
    published: PublishedRun, tmp_path: Path
) -> None:
    # The limit of a recount: which label is right, only the model knows.
    run = published.copied(tmp_path)
    relabelled(run)
    run.believe_files()
    assert findings(verified(run, with_input=True)) == []


def test_all_findings_are_listed_up_to_fifty_and_the_rest_is_counted(published: PublishedRun, tmp_path: Path) -> None:
    run = published.copied(tmp_path)
    run.parts[1].unlink()
    flip(run.parts[2])
    for number in range(60):
        added(f"foreign-{number}")(run)
    outcome = verified(run, with_input=True)
    found = findings(outcome)
    assert len(found) == 51
    total = int(outcome.stderr.split(" findings, first foreign-0: ")[0].split()[-1])
    assert total >= 62, "sixty files, one that is gone and one that is damaged"
    assert found[-1] == f"finding      and {total - 50} more"


def test_no_text_of_a_pair_is_told(published: PublishedRun, tmp_path: Path) -> None:
    run = published.copied(tmp_path)
    rewrite(run.parts[0], put("premise", 2, "secret words"))
    rewrite(run.parts[1], put("hypothesis", 2, "secret words"))
    rewrite(run.parts[2], put("pair_id", 2, "secret words"))
    run.believe_files()
    rewrite(run.parts[3], put("label", 2, "secret words"))
    rewrite(run.rejected[0], put("rejection", 0, "secret words"))
    outcome = verified(run, with_input=True)
    assert len(findings(outcome)) > 5
    assert "secret" not in outcome.stdout + outcome.stderr


# --- how it ends otherwise


@pytest.mark.parametrize("case", ["nowhere", "empty", "labelled but not published"])
def test_where_nothing_is_published_there_is_nothing_to_verify(
    published: PublishedRun, tmp_path: Path, case: str
) -> None:
    run = published.copied(tmp_path)
    if case == "labelled but not published":
        (run.output / "_SUCCESS").unlink()
    else:
        shutil.rmtree(run.output)
    if case == "empty":
        run.output.mkdir()
    outcome = verified(run, with_input=True)
    assert (outcome.exit_code, outcome.report, outcome.stderr.count("\n")) == (2, "", 1)
    assert "nothing is published" in outcome.stderr


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ((), "--output"),
        (("--output", "x", "--unit-rows", 3), "--unit-rows"),
        (("--output", "ftp://x"), "ftp"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(argv: tuple[object, ...], named: str) -> None:
    outcome = verify(*argv)
    assert (outcome.exit_code, outcome.report, outcome.stderr.count("\n")) == (2, "", 1)
    assert named in outcome.stderr


def test_an_input_that_is_nowhere_is_refused(published: PublishedRun, tmp_path: Path) -> None:
    outcome = verify("--output", published.output, "--input", tmp_path / "nowhere")
    assert (outcome.exit_code, outcome.report, outcome.stderr.count("\n")) == (2, "", 1)
    assert "nowhere" in outcome.stderr


def test_what_cannot_be_reached_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    outcome = verify("--output", "s3://bucket/labels", "--s3-endpoint", "http://127.0.0.1:9")
    assert (outcome.exit_code, outcome.report, outcome.stderr.count("\n")) == (4, "", 1)


def test_settings_of_the_labelling_job_in_the_environment_are_none_of_its_business(
    published: PublishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALBERT_INFER_UNIT_ROWS", "16")
    assert findings(verified(published, with_input=False)) == []
    monkeypatch.setenv("ALBERT_INFER_UNIT_ROW", "16")
    assert verified(published, with_input=False).exit_code == 2


# --- on S3


@pytest.mark.s3
def test_a_run_on_s3_is_verified_there(s3_server: S3Server, checkpoint: Path, tmp_path: Path) -> None:
    place = s3_server.location(uuid4().hex[:12])
    client = place.client()
    source = write_pairs(tmp_path / "a.parquet", made_up_pairs(40, seed=3))

    def key(name: str) -> dict[str, str]:
        return {"Bucket": place.bucket, "Key": f"{place.prefix}/{name}"}

    client.put_object(**key("in/a b+c.parquet"), Body=source.read_bytes())
    where = ("--output", f"{place.uri}/out", "--input", f"{place.uri}/in")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in place.env.items():
            environment.setenv(name, value)
        labelled = run_inline(*where, "--model", checkpoint, *LIMITS)
    assert (labelled.exit_code, labelled.errors) == (0, []), labelled.stderr

    assert findings(verify_on(place, *where)) == []
    refused = verify_on(place, *where, AWS_SECRET_ACCESS_KEY="n0t-it")  # noqa: S106  no password
    assert (refused.exit_code, refused.report, refused.stderr.count("\n")) == (2, "", 1)
    assert verify_on(place, "--output", f"{place.uri}/elsewhere").exit_code == 2

    client.put_object(**key("out/part-foreign.parquet"), Body=b"PAR1")
    client.put_object(**key("in/a b+c.parquet"), Body=source.read_bytes() + b" ")
    found = findings(verify_on(place, *where))
    assert [line for line in found if "part-foreign.parquet" in line]
    assert [line for line in found if "in/a b+c.parquet: expected the file of the plan" in line]


def verify_on(place: S3Location, *argv: object, **env: str) -> Outcome:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**place.env, **env}.items():
            environment.setenv(name, value)
        return verify(*argv)


# --- the failure that everything here is for


@pytest.mark.ray
@pytest.mark.usefixtures("session")
@pytest.mark.filterwarnings(RAY_WARNING)
def test_the_rows_that_a_plain_ray_pipeline_doubles_after_a_crash_are_found(checkpoint: Path, tmp_path: Path) -> None:
    run = PublishedRun(tmp_path / "in", tmp_path / "out")
    for number in range(4):
        write_pairs(run.source / f"{number}.parquet", made_up_pairs(16, seed=number))
    outcome = run_inline("--input", run.source, "--output", run.output, "--model", checkpoint, *LIMITS)
    assert outcome.exit_code == 0, outcome.stderr

    plain_pipeline(run.source, tmp_path / "once")
    # A driver that is lost after its write, before anybody heard of it, is started again.
    plain_pipeline(run.source, tmp_path / "again")
    plain_pipeline(run.source, tmp_path / "again")

    for written, doubled in (("once", False), ("again", True)):
        in_place_of_ours(run, tmp_path / written)
        for with_input in (False, True):
            found = findings(verified(run, with_input=with_input))
            assert bool(found) == doubled
            assert bool([line for line in found if "expected its 16 rows; found 32 labelled" in line]) == doubled


def plain_pipeline(source: Path, output: Path) -> None:
    """Label a folder with Ray Data as its documentation does: read, map, write, all with default arguments."""

    def labelled(pairs: pa.Table) -> pa.Table:
        rows = pairs.num_rows
        added = {
            "label": pa.array(["neutral"] * rows),
            **{name: pa.array([share] * rows, pa.float32()) for name, share in SHARES.items()},
            "n_tokens": pa.array([9] * rows, pa.int32()),
            "truncated": pa.array([False] * rows),
        }
        pairs = pairs.drop_columns(["topic"])
        for name, column in added.items():
            pairs = pairs.append_column(name, column)
        return pairs

    pairs = ray.data.read_parquet(str(source))
    pairs.map_batches(labelled, batch_format="pyarrow").write_parquet(str(output))


def in_place_of_ours(run: PublishedRun, written: Path) -> None:
    """Give the rows that a reader of `written` sees to their units, and `_SUCCESS` believes them."""
    rows = pq.read_table(written)
    file_of_row = [pair_id.split("-")[0] for pair_id in rows["pair_id"].to_pylist()]
    for number, path in enumerate(run.parts):
        own = [row for row, name in enumerate(file_of_row) if name == str(number)]
        rewrite(path, lambda ours, own=own: rows.take(own).replace_schema_metadata(ours.schema.metadata))  # type: ignore[misc]
    run.believe_files()
