"""The whole labelling job on local files: what it publishes, what it refuses, and that no row is lost or doubled."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from job_runs import (
    JOB,
    LABELS,
    PATIENCE_SECONDS,
    RAY_WARNING,
    Outcome,
    break_page,
    labelled_rows,
    made_up_pairs,
    manifest_of,
    rejected_rows,
    report_of,
    run_alone,
    run_inline,
    staged_units,
    started,
    state_of,
    tiny_checkpoint,
    verify,
    visible_files,
    wait_until,
    write_pairs,
)

from albert_infer.common.failpoints import VARIABLE
from albert_infer.labeler import Labeler

pytestmark = pytest.mark.filterwarnings(RAY_WARNING)

PROBABILITIES = ["p_entailment", "p_neutral", "p_contradiction"]
OURS = ["label", *PROBABILITIES, "n_tokens", "truncated"]
# fp32 sums in another order, since the job cuts the pairs into units; different pairs differ by tenths.
TOLERANCE = 1e-5


def flags(source: Path, output: Path, checkpoint: Path) -> tuple[object, ...]:
    return ("--input", source, "--output", output, "--model", checkpoint, "--unit-rows", 16)


def label(source: Path, output: Path, checkpoint: Path, *more: object) -> Outcome:
    return run_inline(*flags(source, output, checkpoint), *more)


def published(source: Path, output: Path, checkpoint: Path, *more: object) -> pa.Table:
    outcome = label(source, output, checkpoint, *more)
    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    return labelled_rows(output)


def assert_same_labels(found: pa.Table, expected: pa.Table) -> None:
    assert found["label"].to_pylist() == expected["label"].to_pylist()
    assert len(set(found["label"].to_pylist())) > 1, "a checkpoint that always answers the same shows nothing"
    for name in PROBABILITIES:
        np.testing.assert_allclose(found[name], expected[name], atol=TOLERANCE)
    for name in ("n_tokens", "truncated"):
        assert found[name].to_pylist() == expected[name].to_pylist()


def labelled_directly(pairs: pa.Table, checkpoint: Path) -> pa.Table:
    return Labeler(str(checkpoint), precision="fp32").label(pairs.select(["premise", "hypothesis"]))


# --- what is published


@pytest.mark.ray
def test_the_job_labels_a_folder_as_the_labeler_does_and_keeps_rows_and_layout(
    checkpoint: Path, tmp_path: Path
) -> None:
    pairs = made_up_pairs(72, seed=1)
    source, output = tmp_path / "inbox", tmp_path / "labels"
    write_pairs(source / "a.parquet", pairs.slice(0, 40))
    write_pairs(source / "deep" / "er" / "b.pq", pairs.slice(40, 20))
    shutil.move(write_pairs(source / "c.parquet", pairs.slice(60)), source / "no-suffix")
    write_pairs(source / "_temporary" / "x.parquet", pairs)
    write_pairs(source / ".hidden.parquet", pairs)
    (source / "notes.txt").write_text("read me")

    outcome = run_alone(*flags(source, output, checkpoint), "--carry", "all", "--carry-source")

    assert (outcome.exit_code, outcome.errors) == (0, []), outcome.stderr
    assert "72 of 72 pairs labelled" in outcome.report
    summed_up = {"exit_code": 0, "plan_id": manifest_of(output)["plan_id"], "rows": 72, "labelled": 72, "rejected": 0}
    assert summed_up.items() <= outcome.summary.items()
    rows = labelled_rows(output)
    assert rows.column_names == ["pair_id", "premise", "hypothesis", "topic", "source_file", "source_row", *OURS]
    assert rows.schema.field("label").type == pa.string()
    assert {rows.schema.field(name).type for name in PROBABILITIES} == {pa.float32()}
    assert (rows.schema.field("n_tokens").type, rows.schema.field("truncated").type) == (pa.int32(), pa.bool_())
    assert rows.select(pairs.column_names).equals(pairs.cast(rows.select(pairs.column_names).schema))
    files = ["a.parquet"] * 40 + ["deep/er/b.pq"] * 20 + ["no-suffix"] * 12
    assert rows["source_file"].to_pylist() == [str(source / name) for name in files]
    assert rows["source_row"].to_pylist() == [*range(40), *range(20), *range(12)]
    assert_same_labels(rows, labelled_directly(pairs, checkpoint))
    assert any(rows["truncated"].to_pylist())
    columns = np.array([rows[name].to_numpy() for name in PROBABILITIES])
    np.testing.assert_allclose(columns.sum(axis=0), 1, atol=TOLERANCE)
    assert [LABELS[best] for best in columns.argmax(axis=0)] == rows["label"].to_pylist()

    manifest, report = manifest_of(output), report_of(output)
    # 40 rows in row groups of 16 are three units, 20 are two, 12 are one.
    assert visible_files(output) == sorted(entry["path"] for entry in manifest["files"])
    assert [entry["rows"] for entry in manifest["files"]] == [16, 16, 8, 16, 4, 12]
    assert {path.name for path in output.iterdir()} - set(visible_files(output)) == {"_SUCCESS", "_units", "_runs"}
    run = output / "_runs" / manifest["plan_id"]
    assert {path.name for path in run.iterdir()} == {"plan.json", "sealed.json", "report.json", "report.html"}
    assert not any((output / "_units").iterdir())
    assert (report["rows"], report["labelled"], report["units"]) == (72, 72, {"done_before": 0, "labelled": 6})
    assert report["labels"] == dict(sorted(Counter(rows["label"].to_pylist()).items()))
    assert report["tokens"] == pc.sum(rows["n_tokens"]).as_py()
    assert set(report["ignored"]) == {"_temporary/x.parquet", ".hidden.parquet", "notes.txt"}
    assert report["exit_code"] == 0
    assert [kernels["machine"] for kernels in report["kernels"]] == [platform.node()]


def test_columns_may_have_other_names_and_only_those_asked_for_are_kept(checkpoint: Path, tmp_path: Path) -> None:
    pairs = made_up_pairs(20, seed=2).append_column("label", pa.array(["gold"] * 20))
    write_pairs(tmp_path / "in.parquet", pairs.rename_columns(["key", "left", "right", "topic", "label"]))
    rows = published(
        tmp_path / "in.parquet", tmp_path / "out", checkpoint,
        "--premise-column", "left", "--hypothesis-column", "right", "--id-column", "key", "--carry", "topic",
    )  # fmt: skip
    assert rows.column_names == ["pair_id", "premise", "hypothesis", "topic", *OURS]
    assert rows["pair_id"].equals(pairs["pair_id"])
    assert_same_labels(rows, labelled_directly(pairs, checkpoint))


def test_carried_columns_may_hold_nothing_but_nulls_at_any_depth(checkpoint: Path, tmp_path: Path) -> None:
    """In one row group of three units, so that each is a slice: of such columns Arrow casts no slice."""
    nothing = pa.struct([("a", pa.null()), ("b", pa.int32())])
    pairs = made_up_pairs(48, seed=16)
    premises = pairs["premise"].to_pylist()
    premises[20] = None
    columns = {
        "s": pa.array([{"a": None, "b": row} if row % 5 else None for row in range(48)], nothing),
        "l": pa.array([[{"a": None, "b": row}] * (row % 3) for row in range(48)], pa.list_(nothing)),
        "m": pa.array([[("k", None)] * (row % 2) for row in range(48)], pa.map_(pa.string(), pa.null())),
        "n": pa.nulls(48),
    }
    pairs = pairs.set_column(1, "premise", pa.array(premises, pa.string()))
    for name, column in columns.items():
        pairs = pairs.append_column(name, column)
    source, output = write_pairs(tmp_path / "in" / "a.parquet", pairs, group_rows=48).parent, tmp_path / "out"
    kept = published(source, output, checkpoint, "--carry", ",".join(columns))
    labelled = [row for row in range(48) if row != 20]
    assert kept.select(list(columns)).to_pylist() == pairs.take(labelled).select(list(columns)).to_pylist()
    assert (
        rejected_rows(output).select(list(columns)).to_pylist() == pairs.slice(20, 1).select(list(columns)).to_pylist()
    )
    verify(output, source)


@pytest.mark.computes
def test_labels_follow_the_pairs_through_any_order_of_rows_and_outputs(checkpoint: Path, tmp_path: Path) -> None:
    pairs = made_up_pairs(48, seed=3)
    order = np.random.default_rng(3).permutation(48)
    write_pairs(tmp_path / "in" / "a.parquet", pairs.take(order))
    other = tiny_checkpoint(tmp_path / "other", ["Contradiction", "ENTAILMENT", "neutral"])
    shuffled = published(tmp_path / "in", tmp_path / "shuffled", checkpoint)
    relabelled = published(tmp_path / "in", tmp_path / "relabelled", other)
    assert shuffled["pair_id"].equals(pairs["pair_id"].take(order))
    assert_same_labels(shuffled, labelled_directly(pairs, checkpoint).take(order))
    assert_same_labels(relabelled, shuffled)


# --- what is not labelled


def test_bad_rows_are_set_aside_and_too_many_of_them_hold_the_run_back(checkpoint: Path, tmp_path: Path) -> None:
    pairs = made_up_pairs(32, seed=4)
    premises = pairs["premise"].to_pylist()
    premises[3], premises[20] = None, " \t "
    source, output = tmp_path / "in", tmp_path / "out"
    write_pairs(source / "a.parquet", pairs.set_column(1, "premise", pa.array(premises, pa.string())))

    outcome = label(source, output, checkpoint)
    assert outcome.exit_code == 3
    assert len(outcome.errors) == 1
    assert "--max-rejected-share 0.05" in outcome.errors[0]
    assert (visible_files(output), (output / "_SUCCESS").exists()) == ([], False)
    assert report_of(output)["exit_code"] == 3
    before = state_of(output, "*/*.parquet")

    rows = published(source, output, checkpoint, "--max-rejected-share", 0.1)
    assert report_of(output)["units"] == {"done_before": 2, "labelled": 0}, "what was labelled before is kept"
    assert {digest for digest, _ in before.values()} == {digest for digest, _ in state_of(output, "*.parquet").values()}
    good = [row for row in range(32) if row not in (3, 20)]
    assert rows["pair_id"].equals(pairs["pair_id"].take(good))
    rejected = rejected_rows(output)
    assert rejected.column_names == ["pair_id", "source_file", "source_row", "rejection", "detail"]
    assert rejected["pair_id"].to_pylist() == ["4-3", "4-20"]
    assert rejected["source_row"].to_pylist() == [3, 20]
    assert rejected["rejection"].to_pylist() == ["null_text", "empty_text"]
    assert report_of(output)["rejected"] == {"empty_text": 1, "null_text": 1}


def test_bad_files_hold_the_run_back_until_they_are_accepted(checkpoint: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    pairs = made_up_pairs(40, seed=5)
    write_pairs(source / "good.parquet", pairs)
    (source / "empty.parquet").touch()

    refused = label(source, output, checkpoint)
    assert refused.exit_code == 3
    assert len(refused.errors) == 1
    assert "empty.parquet" in refused.errors[0]
    assert (visible_files(output), staged_units(output), (output / "_SUCCESS").exists()) == ([], [], False)

    rows = published(source, output, checkpoint, "--max-bad-files", 1)
    assert rows["pair_id"].equals(pairs["pair_id"])
    assert [(bad["uri"], bad["reason"]) for bad in manifest_of(output)["quarantined"]["files"]] == [
        (str(source / "empty.parquet"), "empty_object")
    ]


def test_more_rows_than_the_operator_wants_to_pay_for_are_not_labelled(checkpoint: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    write_pairs(source / "a.parquet", made_up_pairs(20, seed=12))
    write_pairs(source / "b.parquet", made_up_pairs(20, seed=13))
    refused = label(source, output, checkpoint, "--max-rows", 39)
    assert refused.exit_code == 3
    assert "--max-rows 39: the input has 40 rows" in refused.errors[0]
    assert (staged_units(output), report_of(output)["exit_code"]) == ([], 3)
    assert published(source, output, checkpoint, "--max-rows", 40).num_rows == 40


def test_a_broken_page_costs_its_unit_and_holds_the_run_back_until_it_is_accepted(
    checkpoint: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    pairs = made_up_pairs(40, seed=6)
    write_pairs(source / "good.parquet", pairs.slice(0, 8))
    break_page(write_pairs(source / "broken.parquet", pairs.slice(8)), 1)

    refused = label(source, output, checkpoint)
    assert refused.exit_code == 3
    assert "broken.parquet" in refused.errors[0]
    assert (visible_files(output), (output / "_SUCCESS").exists()) == ([], False)

    rows = published(source, output, checkpoint, "--max-bad-files", 1)
    # The files come in the order of their names: `broken` first, without its second row group.
    assert rows["pair_id"].to_pylist() == pairs["pair_id"].slice(8, 16).to_pylist() + pairs["pair_id"][:8].to_pylist()
    manifest = manifest_of(output)
    (unit,) = manifest["quarantined"]["units"]
    assert (unit["reason"], unit["first_row"], unit["rows"]) == ("bad_page", 16, 16)
    assert (manifest["rows_in"], manifest["labelled"], manifest["quarantined"]["rows_known"]) == (40, 24, 16)


@dataclass
class Mixture:
    """A random input and what must become of it: per file `labelled`, `rejected` and `quarantined` rows."""

    labelled: set[tuple[str, int]] = field(default_factory=set)
    rejected: dict[tuple[str, int], str] = field(default_factory=dict)
    quarantined: set[tuple[str, int]] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)


BAD_TEXTS = {
    b"": "empty_text",
    " \u200b\u00a0".encode(): "empty_text",
    b"w1 \xff\xfe": "bad_utf8",
    b"w1 " * 400_000: "text_too_long",
    None: "null_text",
}
BAD_FILES = {"zero": "empty_object", "page": "not_parquet", "cut": "bad_footer", "column": "schema_missing"}


def mixed_input(source: Path, generator: np.random.Generator) -> Mixture:
    """Write random files below `source`: good and bad rows, good, bad and half-bad files."""
    mixture = Mixture()
    for number in range(generator.integers(4, 8)):
        path = source / f"d{number % 3}" / f"{number}.parquet"
        rows = int(generator.integers(1, 51))
        kind = str(generator.choice(["whole", "whole", "broken", *BAD_FILES]))
        faults = {
            row: list(BAD_TEXTS)[generator.integers(len(BAD_TEXTS))] for row in range(rows) if generator.random() < 0.1
        }
        write_pairs(path, with_faults(made_up_pairs(rows, seed=number), faults))
        if kind in BAD_FILES:
            spoil(path, kind)
            mixture.unreadable[str(path.relative_to(source))] = BAD_FILES[kind]
            continue
        lost = int(generator.integers((rows + 15) // 16)) if kind == "broken" else None
        if lost is not None:
            break_page(path, lost)
        for row in range(rows):
            if row // 16 == lost:
                mixture.quarantined.add((str(path), row))
            elif row in faults:
                mixture.rejected[str(path), row] = BAD_TEXTS[faults[row]]
            else:
                mixture.labelled.add((str(path), row))
    return mixture


def with_faults(pairs: pa.Table, faults: dict[int, bytes | None]) -> pa.Table:
    texts = [faults.get(row, str(text).encode()) for row, text in enumerate(pairs["premise"])]
    premise = pa.array(texts, pa.binary()).cast(pa.string(), safe=False)
    return pairs.set_column(1, "premise", premise)


def spoil(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "column":
        write_pairs(path, pq.read_table(path, columns=["premise"]))
    else:
        path.write_bytes({"zero": b"", "page": b"<html>not found</html>", "cut": data[: len(data) // 2]}[kind])


@pytest.mark.parametrize("seed", range(3))
def test_every_row_is_labelled_rejected_or_quarantined_once(checkpoint: Path, tmp_path: Path, seed: int) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    mixture = mixed_input(source, np.random.default_rng(seed))
    write_pairs(source / "a.parquet", made_up_pairs(3, seed=99))  # never nothing at all
    mixture.labelled |= {(str(source / "a.parquet"), row) for row in range(3)}
    limits = ("--max-bad-files", 99, "--max-rejected-share", 1, "--carry-source")

    rows, manifest = published(source, output, checkpoint, *limits), manifest_of(output)

    labelled = Counter(zip(rows["source_file"].to_pylist(), rows["source_row"].to_pylist(), strict=True))
    assert labelled == Counter(mixture.labelled)
    if mixture.rejected:
        aside = rejected_rows(output).select(["source_file", "source_row", "rejection"]).to_pylist()
        reasons = {(row["source_file"], row["source_row"]): row["rejection"] for row in aside}
        assert (reasons, len(aside)) == (mixture.rejected, len(mixture.rejected))
    units = manifest["quarantined"]["units"]
    lost = {(unit["uri"], unit["first_row"] + row) for unit in units for row in range(unit["rows"])}
    assert lost == mixture.quarantined
    bad_files = manifest["quarantined"]["files"]
    assert {str(Path(bad["uri"]).relative_to(source)): bad["reason"] for bad in bad_files} == mixture.unreadable
    counts = (manifest["labelled"], sum(manifest["rejected"].values()), manifest["quarantined"]["rows_known"])
    rows_of_bad_files = sum(bad["rows"] or 0 for bad in bad_files)
    assert counts == (len(mixture.labelled), len(mixture.rejected), len(mixture.quarantined) + rows_of_bad_files)
    assert manifest["rows_in"] == sum(counts)


# --- again


@pytest.mark.computes
def test_a_late_file_is_labelled_alone_and_a_run_that_is_done_does_nothing(checkpoint: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    pairs = made_up_pairs(60, seed=7)
    write_pairs(source / "b.parquet", pairs.slice(20))
    published(source, output, checkpoint)
    first = state_of(output, "part-*")
    write_pairs(source / "a.parquet", pairs.slice(0, 20))

    refused = label(source, output, checkpoint)
    assert refused.exit_code == 6
    assert len(refused.errors) == 1
    assert "--replace" in refused.errors[0]
    assert state_of(output, "part-*") == first

    rows = published(source, output, checkpoint, "--replace")
    assert rows["pair_id"].equals(pairs["pair_id"])
    assert report_of(output)["units"] == {"done_before": 3, "labelled": 2}
    assert first.items() < state_of(output, "part-*").items()

    finished = state_of(output)
    again = label(source, output, checkpoint)
    assert (again.exit_code, again.errors) == (0, [])
    assert "published by an earlier start" in again.stdout
    assert state_of(output) == finished


@pytest.mark.ray
def test_a_driver_killed_half_way_leaves_nothing_visible_and_the_next_start_goes_on(
    checkpoint: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    pairs = made_up_pairs(960, seed=9)
    write_pairs(source / "a.parquet", pairs)

    armed = {VARIABLE: f"part_put:wait:3-99:{tmp_path}"}
    with started([sys.executable, JOB, *flags(source, output, checkpoint)], env=armed) as process:
        wait_until((tmp_path / "part_put.3").exists, process)
    # Not what a commit that was cut off had begun.
    staged = state_of(output, "_units/*.parquet")
    assert 3 <= len(staged) < 60
    assert (visible_files(output), (output / "_SUCCESS").exists()) == ([], False)

    rows = published(source, output, checkpoint)
    assert rows["pair_id"].equals(pairs["pair_id"])
    assert report_of(output)["units"] == {"done_before": len(staged), "labelled": 60 - len(staged)}
    # A unit that was finished is published as it stood: the same bytes, written at the same time.
    assert set(staged.values()) < set(state_of(output, "part-*").values())
    assert visible_files(output) == sorted(entry["path"] for entry in manifest_of(output)["files"])

    finished = state_of(output)
    again = label(source, output, checkpoint)
    assert (again.exit_code, again.errors) == (0, []), again.stderr
    assert state_of(output) == finished


# --- refused


@dataclass(frozen=True)
class Refusal:
    """Flags that cannot be meant, and what the one error line must name."""

    argv: tuple[str, ...]
    named: str


GOOD = ("--input", "in", "--output", "out", "--model", "model")
REFUSALS = {
    "unknown flag": Refusal((*GOOD, "--bogus", "1"), "--bogus"),
    "bad value": Refusal((*GOOD, "--unit-rows", "0"), "--unit-rows"),
    "no output": Refusal(("--input", "in"), "--output"),
    "missing input": Refusal(("--input", "nowhere", "--output", "out", "--model", "model"), "nowhere"),
    "empty folder": Refusal(("--input", "empty", "--output", "out", "--model", "model"), "empty"),
    "nothing like Parquet": Refusal(("--input", "texts", "--output", "out", "--model", "model"), "texts"),
    "output inside input": Refusal(("--input", "in", "--output", "in/out", "--model", "model"), "in/out"),
    "input inside output": Refusal(("--input", "in/deep", "--output", "in", "--model", "model"), "in/deep"),
    "output is input": Refusal(("--input", "in", "--output", "in", "--model", "model"), "in"),
    "output is a file": Refusal(("--input", "in", "--output", "file", "--model", "model"), "file"),
    "missing model": Refusal((*GOOD[:4], "--model", "no-model"), "no-model"),
    "empty model": Refusal((*GOOD[:4], "--model", "empty"), "empty"),
    "pickled model": Refusal((*GOOD[:4], "--model", "pickled"), "pickled"),
    "carried column is missing": Refusal((*GOOD, "--carry", "colour"), "colour"),
    "carried column is ours": Refusal((*GOOD, "--carry", "label"), "label"),
    "longer than the model": Refusal((*GOOD, "--max-length", "41"), "--max-length"),
}
# Runs every case in one process, since each would import the same for seconds.
EACH_CASE = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
from label_pairs import main
for argv in json.load(sys.stdin):
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
        code = main(argv)
    print(json.dumps([code, stderr.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def refused(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, str]]]:
    """Start the job with each refusal; the folder it ran in, and exit code and stderr of each case."""
    folder = tmp_path_factory.mktemp("refused")
    write_pairs(folder / "in" / "deep" / "a.parquet", made_up_pairs(4, seed=0))
    for name in ("empty", "texts", "pickled"):
        (folder / name).mkdir()
    (folder / "texts" / "a.txt").write_text("no pairs")
    (folder / "file").write_text("mine")
    shutil.copytree(checkpoint, folder / "model")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(checkpoint / name, folder / "pickled")
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", EACH_CASE, str(JOB.parent)],
        input=json.dumps([case.argv for case in REFUSALS.values()]),
        # A start that got as far as Ray would end with 4, because nobody listens there.
        env={"PATH": "", "RAY_ADDRESS": "127.0.0.1:1"},
        cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS / 4, check=True,
    )  # fmt: skip
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    return folder, dict(zip(REFUSALS, outcomes, strict=True))


@pytest.mark.process
@pytest.mark.parametrize("case", REFUSALS)
def test_a_start_that_cannot_be_meant_is_refused_in_one_line_before_ray_starts(
    refused: tuple[Path, dict[str, tuple[int, str]]], case: str
) -> None:
    code, stderr = refused[1][case]
    assert (code, stderr.count("\n")) == (2, 1), stderr
    assert stderr.startswith("label_pairs.py: ")
    assert REFUSALS[case].named in stderr


@pytest.mark.process
def test_a_refused_start_writes_nothing(refused: tuple[Path, dict[str, tuple[int, str]]]) -> None:
    folder, _ = refused
    written = {path.name for path in folder.iterdir()} - {"in", "empty", "texts", "file", "model", "pickled"}
    assert written == set()
    assert [path.name for path in (folder / "in").iterdir()] == ["deep"]
    assert (folder / "file").read_text() == "mine"


@pytest.mark.process
def test_the_exit_code_and_the_error_line_reach_the_shell(tmp_path: Path) -> None:
    outcome = run_alone("--input", tmp_path / "nowhere", "--output", tmp_path / "out")
    assert (outcome.exit_code, outcome.report, outcome.stderr.count("\n")) == (2, "", 1)
    assert not (tmp_path / "out").exists()
