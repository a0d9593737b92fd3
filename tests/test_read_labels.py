"""`read_labels` returns exactly one published run: what its `_SUCCESS` names, in order, and nothing that is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from job_runs import RAY_WARNING, labelled_rows, made_up_pairs, ray_session, rejected_rows, run_inline, write_pairs
from many_questions import TOPICS, labelled, summaries, texts
from published_runs import PublishedRun

from albert_infer import read_labels
from albert_infer.errors import InputError, IntegrityError, ObjectChangedError, SettingsError
from albert_infer.output import reading
from albert_infer.storage import ObjectPin, open_folder

LIMITS = ("--unit-rows", 16, "--max-rejected-share", 1)


@pytest.fixture(scope="module")
def original(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedRun:
    """Four units of two files, 56 rows, two of them rejected."""
    folder = tmp_path_factory.mktemp("labels")
    run = PublishedRun(folder / "in", folder / "out")
    pairs = made_up_pairs(40, seed=1)
    premises = pairs["premise"].to_pylist()
    premises[3], premises[20] = None, " "
    write_pairs(run.source / "a.parquet", pairs.set_column(1, "premise", pa.array(premises, pa.string())))
    write_pairs(run.source / "b.parquet", made_up_pairs(16, seed=2))
    argv = ("--input", run.source, "--output", run.output, "--model", checkpoint, "--carry", "topic", *LIMITS)
    assert run_inline(*argv).exit_code == 0
    return run


@pytest.fixture
def run(original: PublishedRun, tmp_path: Path) -> PublishedRun:
    return original.copied(tmp_path)


def test_labels_are_the_files_that_are_named_in_the_order_of_the_input(run: PublishedRun) -> None:
    stray = run.output / "part-a,000000000000,0123456789abcdef,9-01234567.parquet"
    shutil.copy(run.parts[0], stray)
    (run.output / "notes.txt").write_text("nothing of ours")
    labels = read_labels(run.output)
    assert labels.num_rows == 54
    assert labels.equals(labelled_rows(run.output))
    assert labels["pair_id"].to_pylist()[:3] == ["1-0", "1-1", "1-2"]


def test_the_other_rows_are_those_without_a_label(run: PublishedRun) -> None:
    rejected = read_labels(str(run.output), rejected=True)
    assert rejected.equals(rejected_rows(run.output))
    assert rejected["rejection"].to_pylist() == ["null_text", "empty_text"]


def test_only_the_columns_that_are_named_are_read_in_their_order(run: PublishedRun) -> None:
    labels = read_labels(run.output, columns=["label", "pair_id"])
    assert labels.column_names == ["label", "pair_id"]
    assert read_labels(run.output, columns=[]).num_columns == 0
    with pytest.raises(InputError, match=r"column `texts` of .*: the run has pair_id, premise"):
        read_labels(run.output, columns=["label", "texts"])


def test_where_nothing_is_published_it_says_so(tmp_path: Path, run: PublishedRun) -> None:
    with pytest.raises(InputError, match="nothing is published there: it has no _SUCCESS; give the --output"):
        read_labels(tmp_path / "nowhere")
    (run.output / "_SUCCESS").unlink()
    with pytest.raises(InputError, match="nothing is published there"):
        read_labels(run.output)
    (run.output / "_SUCCESS").write_text("{}")
    with pytest.raises(IntegrityError, match="it is not a manifest of ours"):
        read_labels(run.output)


def test_an_engine_that_is_none_is_refused(run: PublishedRun) -> None:
    with pytest.raises(SettingsError, match="give one of arrow, ray"):
        read_labels(run.output, engine="spark")  # type: ignore[arg-type]


def test_a_file_that_is_missing_or_of_another_size_is_never_read(run: PublishedRun) -> None:
    first, second = run.parts[:2]
    second.write_bytes(second.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="bytes where _SUCCESS says"):
        read_labels(run.output)
    first.unlink()
    with pytest.raises(IntegrityError, match="_SUCCESS names it, and it is missing"):
        read_labels(run.output)


def test_other_bytes_of_the_same_size_are_found_by_their_checksum(run: PublishedRun) -> None:
    part = run.parts[0]
    data = bytearray(part.read_bytes())
    # In the metadata of the footer, which no page checksum covers.
    place = data.rindex(b"topic")
    data[place : place + 5] = b"tepic"
    part.write_bytes(data)
    with pytest.raises(IntegrityError, match="its bytes have another sha256"):
        read_labels(run.output, checksums=True)


def test_rows_that_are_gone_are_noticed(run: PublishedRun) -> None:
    part = run.parts[0]
    pq.write_table(pq.read_table(part).slice(1), part)
    run.tell(lambda manifest: manifest["files"][0].update(bytes=part.stat().st_size))
    with pytest.raises(IntegrityError, match="rows where _SUCCESS says"):
        read_labels(run.output)


def test_a_run_that_is_replaced_meanwhile_is_told_from_a_damaged_one(run: PublishedRun) -> None:
    rows = reading.published_rows(open_folder(str(run.output)), columns=None, checksums=False)
    run.parts[0].unlink()
    run.tell(lambda manifest: manifest.update(replaces=["0" * 16]))
    with pytest.raises(ObjectChangedError, match="another run was published meanwhile"):
        rows.read(rows.files[0])
    assert isinstance(rows.published.pin, ObjectPin)


def test_a_run_without_rejected_rows_has_a_table_with_their_columns(run: PublishedRun, checkpoint: Path) -> None:
    (run.source / "a.parquet").unlink()
    argv = ("--input", run.source, "--output", run.output, "--model", checkpoint, "--carry", "topic", *LIMITS)
    assert run_inline(*argv, "--replace").exit_code == 0
    assert read_labels(run.output).num_rows == 16
    rejected = read_labels(run.output, rejected=True)
    assert (rejected.num_rows, rejected.column_names) == (
        0,
        ["pair_id", "topic", "source_file", "source_row", "rejection", "detail"],
    )
    assert read_labels(run.output, rejected=True, columns=["topic"]).schema == pa.schema([("topic", pa.int16())])


@pytest.mark.ray
@pytest.mark.filterwarnings(RAY_WARNING)
def test_a_ray_dataset_has_the_same_rows(run: PublishedRun) -> None:
    if not ray.is_initialized():
        with ray_session():
            compare_with_ray(run)
    else:
        compare_with_ray(run)


def compare_with_ray(run: PublishedRun) -> None:
    expected = read_labels(run.output).select(["pair_id", "label"]).to_pylist()
    dataset = read_labels(run.output, engine="ray", columns=["pair_id", "label"], checksums=True)
    key = lambda row: row["pair_id"]  # noqa: E731
    assert sorted(dataset.take_all(), key=key) == sorted(expected, key=key)
    assert read_labels(run.output, engine="ray", rejected=True).count() == 2
    run.parts[0].unlink()
    # Inside an error of Ray's, since it happens in one of its tasks.
    with pytest.raises(ray.exceptions.RayTaskError, match=r"IntegrityError: .*it is missing"):
        read_labels(run.output, engine="ray").take_all()


def test_the_pairs_of_a_run_are_read_wherever_it_published_them(checkpoint: Path, tmp_path: Path) -> None:
    settings = {"candidates": TOPICS, "model": str(checkpoint)}
    runs = {name: labelled(tmp_path / name, texts(), publish=name, **settings) for name in ("scores", "pairs", "both")}
    of_both, of_pairs = read_labels(runs["both"], pairs=True), read_labels(runs["pairs"], pairs=True)
    assert of_both.equals(of_pairs)
    assert of_both.num_rows == 5 * len(TOPICS)
    assert of_both["hypothesis_id"].to_pylist() == list(TOPICS) * 5
    assert read_labels(runs["pairs"]).equals(of_pairs)
    assert read_labels(runs["both"]).equals(read_labels(runs["scores"]))
    assert read_labels(runs["both"])["n_pairs"].to_pylist() == [3] * 5
    with pytest.raises(InputError, match="the run published scores and no pairs; label with --publish both"):
        read_labels(runs["scores"], pairs=True)
    with pytest.raises(SettingsError, match="a rejected row has no pairs; give one of them"):
        read_labels(runs["both"], pairs=True, rejected=True)


def test_a_run_of_one_pair_a_row_has_no_table_of_pairs(run: PublishedRun) -> None:
    with pytest.raises(InputError, match="each row of the run is one pair; read the labels without pairs"):
        read_labels(run.output, pairs=True)
    run.plan_path.unlink()
    with pytest.raises(InputError, match=r"plan.json is missing, which says .* copy the whole folder"):
        read_labels(run.output, pairs=True)


@pytest.mark.parametrize("publish", ["scores", "pairs", "both"])
def test_tables_without_rows_have_the_columns_of_their_run(checkpoint: Path, tmp_path: Path, publish: str) -> None:
    settings = {"candidates": TOPICS, "model": str(checkpoint), "publish": publish, "review_below": 0.5}
    full = labelled(tmp_path / "full", texts(), **settings)
    bad = labelled(tmp_path / "bad", texts().slice(3, 1), **settings)
    good = labelled(tmp_path / "good", texts().slice(0, 2), **settings)
    assert read_labels(bad).num_rows == 0
    assert read_labels(bad).schema.equals(read_labels(full).schema)
    assert read_labels(good, rejected=True).schema.equals(read_labels(full, rejected=True).schema)
    if publish != "scores":
        assert read_labels(bad, pairs=True).schema.equals(read_labels(full, pairs=True).schema)
        assert read_labels(bad, pairs=True).num_rows == 0


@pytest.mark.parametrize("publish", ["scores", "pairs", "both"])
def test_a_run_without_files_has_the_columns_of_its_plan(checkpoint: Path, tmp_path: Path, publish: str) -> None:
    settings = {"split_premise": "sentences", "model": str(checkpoint), "publish": publish, "carry_source": True}
    run = PublishedRun(tmp_path / "in", labelled(tmp_path, summaries(), **settings))
    schemas = [read_labels(run.output).schema, read_labels(run.output, pairs=publish != "scores").schema]
    run.tell(lambda manifest: manifest.update(files=[], pair_files=[]))
    tables = [read_labels(run.output), read_labels(run.output, pairs=publish != "scores")]
    assert [table.num_rows for table in tables] == [0, 0]
    assert [table.schema for table in tables] == schemas
    assert read_labels(run.output, rejected=True).column_names[:2] == ["pair_id", "gold_label"]
