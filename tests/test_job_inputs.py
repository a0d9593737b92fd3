"""What a job says of an input or a location that it cannot use: exit code 2, in one line, before Ray starts."""

from __future__ import annotations

from pathlib import Path

import evaluate
import label_nightly
import pyarrow as pa
import pytest
import ray
from job_runs import Outcome, made_up_pairs, run_here, run_main, write_pairs

pytestmark = pytest.mark.usefixtures("no_session")


def refusal(outcome: Outcome) -> str:
    """The one line of a start that was refused without Ray and wrote nothing but that."""
    assert (outcome.exit_code, outcome.report, len(outcome.errors)) == (2, "", 1), outcome.stderr
    assert not ray.is_initialized()
    return outcome.errors[0]


def told(source: object, output: object, *more: object) -> str:
    return refusal(run_here("--input", source, "--output", output, *more))


@pytest.mark.parametrize("limit", [0, 3])
def test_a_wrong_column_name_is_refused_with_the_columns_that_are_there(tmp_path: Path, limit: int) -> None:
    for name in ("a", "b", "c"):
        pairs = made_up_pairs(100, seed=1).rename_columns(["pair_id", "sentence1", "sentence2", "topic"])
        write_pairs(tmp_path / "in" / f"{name}.parquet", pairs)
    line = told(tmp_path / "in", tmp_path / "out", "--max-bad-files", limit)
    assert "`pair_id`, `sentence1`, `sentence2`, `topic`" in line
    assert "--premise-column and --hypothesis-column" in line
    line = told(tmp_path / "in", tmp_path / "out", "--premise-column", "sentence1")
    assert line.endswith("name the columns of the input with --hypothesis-column")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["part-0.csv", "part-0.parquet.gz", "_temporary/0/part-0.parquet", "part-0.parquet.tmp"]
)
def test_an_input_whose_objects_are_all_left_out_says_what_is_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "in" / name).parent.mkdir(parents=True)
    (tmp_path / "in" / name).write_bytes(b"premise,hypothesis")
    assert f"first {name}; rename, convert or unpack files with data" in told(tmp_path / "in", tmp_path / "out")


def test_a_single_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("premise,hypothesis")
    line = told(tmp_path / "pairs.csv", tmp_path / "out")
    assert "pairs.csv: not_parquet (does not begin with PAR1)" in line
    assert "only Parquet is read" in line


def test_the_files_of_a_table_are_refused_with_how_to_export_them(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in" / "sub" / "a.parquet", made_up_pairs(5, seed=1))
    (tmp_path / "in" / "sub" / "_delta_log").mkdir()
    (tmp_path / "in" / "sub" / "_delta_log" / "00000000000000000000.json").write_text("{}")
    line = told(tmp_path / "in", tmp_path / "out")
    assert f"a Delta table ({tmp_path}/in/sub)" in line
    assert 'spark.read.format("delta").load(TABLE).write.parquet(FOLDER)' in line
    assert "a Delta table" in refusal(
        run_main(evaluate.main, "--pairs", tmp_path / "in", "--output", tmp_path / "page")
    )


def test_a_link_to_nothing_is_refused_as_that_unless_its_name_leaves_it_out(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "in" / "b.parquet", made_up_pairs(5, seed=1))
    (path.parent / ".#b.parquet").symlink_to("user@host.1234:5678")
    (path.parent / "note.txt").symlink_to("gone")
    assert "none of 1 files has it" in told(path.parent, tmp_path / "out", "--premise-column", "text")
    (path.parent / "a.parquet").symlink_to("gone")
    assert f"{path.parent}/a.parquet is a link to nothing; " in told(path.parent, tmp_path / "out")


@pytest.mark.computes
def test_a_gold_set_whose_footers_show_that_it_is_none_is_refused_before_ray(tmp_path: Path) -> None:
    pairs = made_up_pairs(5, seed=1)
    path, out = write_pairs(tmp_path / "in" / "b.parquet", pairs), tmp_path / "out"
    gold = write_pairs(tmp_path / "gold.parquet", pairs.append_column("right", pa.array([True] * 5)))
    assert f"--gold {tmp_path}/none: nothing is there" in told(path, out, "--gold", tmp_path / "none")
    assert "`gold_label`" in told(path, out, "--gold", gold)
    assert "gold labels of type bool" in told(path, out, "--gold", gold, "--gold-column", "right")
    assert not out.exists()


def test_what_is_no_location_of_an_input_or_output_says_what_to_give(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(5, seed=1))
    folder, out = path.parent, tmp_path / "out"
    assert "give the folder: every Parquet file below it is read" in told(f"{folder}/*.parquet", out)
    assert "put the files below one folder" in told(f"{path},{path}", out)
    assert "give the folder that holds all" in told(path, out, path)
    assert "give the folder that holds all" in told(path, out, "--input", path)
    assert "write x.parquet/" in told(folder, tmp_path / "x.parquet")
    assert "is not inside the input and does not contain it" in told(folder, folder / "out")
    assert "give --dry-run" in told(folder, out, "--dryrun")
    line = refusal(run_main(label_nightly.main, "--input-root", folder, "--output-root", "x.parquet"))
    assert "write x.parquet/" in line
    assert not out.exists()
