"""A published run gives each labelled row once, with its place in the input; what cannot be evaluated is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluated_rows import gold_names, made_up_rows, published_run
from pairs import numbered_pairs, with_class_names

from albert_infer.errors import InputError
from albert_infer.learning.evaluation.rows import POSITION, columns_of, gold_of, labels_of, probabilities_of
from albert_infer.learning.evaluation.runs import PublishedRun, open_run, refuse_other_input, refuse_without_gold
from albert_infer.schema import THREE_LABELS
from albert_infer.storage import DEFAULT_ACCESS

ROWS = made_up_rows(47, seed=1, unknown=0.2)
REJECTED = (0, 13, 14, 46)


def pairs_with_gold() -> pa.Table:
    topics = pa.array([f"topic {row % 3}" for row in range(len(ROWS.gold))])
    return numbered_pairs(len(ROWS.gold)).append_column("gold_label", [gold_names(ROWS)]).append_column("topic", topics)


def opened(output: Path, gold_column: str = "gold_label", *slices: str) -> PublishedRun:
    return open_run("--run", str(output), gold_column, slices, DEFAULT_ACCESS)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Give a run of units of 20 rows, four rows of which were rejected."""
    return published_run(
        tmp_path / "out", pairs_with_gold(), ROWS, rejected=REJECTED, carry="gold_label,topic", unit_rows=20
    )


def test_every_labelled_row_comes_once_with_its_gold_label_and_its_place(run: Path) -> None:
    found = opened(run, "gold_label", "topic")
    rows = pa.concat_tables(found.batches())
    kept = [row for row in range(len(ROWS.gold)) if row not in REJECTED]
    assert rows[POSITION].to_pylist() == kept
    assert set(rows.column_names) == {*columns_of(THREE_LABELS), "topic"}
    assert gold_of(rows).tolist() == ROWS.gold[kept].tolist()
    assert labels_of(rows).tolist() == ROWS.labels[kept].tolist()
    np.testing.assert_array_equal(probabilities_of(rows), ROWS.probabilities[kept])
    assert rows["premise"].to_pylist() == [f"a man plays {row}" for row in kept]
    assert (found.rows, dict(found.rejected)) == (len(kept), {"empty_text": 4})
    assert found.file_and_row(20) == (str(run.parent / "in" / "a.parquet"), 20)


def test_numbers_that_a_run_carried_mean_what_its_input_says(tmp_path: Path) -> None:
    names = ("contradiction", "entailment", "neutral")
    numbers = [names.index(name) if name in names else -1 for name in gold_names(ROWS)]
    pairs = numbered_pairs(len(ROWS.gold)).append_column("gold_label", pa.array(numbers, pa.int64()))
    run = published_run(tmp_path / "out", with_class_names(pairs, "gold_label", names), ROWS, unit_rows=20)
    assert gold_of(pa.concat_tables(opened(run).batches())).tolist() == ROWS.gold.tolist()


def test_numbers_that_a_run_carried_of_other_classes_are_refused(tmp_path: Path) -> None:
    pairs = numbered_pairs(len(ROWS.gold)).append_column("gold_label", pa.array([0] * len(ROWS.gold)))
    run = published_run(tmp_path / "out", with_class_names(pairs, "gold_label", ("yes", "no")), ROWS)
    with pytest.raises(InputError, match=r"column `gold_label` of the run at .*: numbers of 2 classes: yes, no; give"):
        list(opened(run).batches())


def test_a_run_without_the_gold_column_says_how_to_carry_it(run: Path) -> None:
    found = opened(run, "truth")
    assert not found.has_gold
    with pytest.raises(InputError, match=r"no column `truth`; label with --carry truth"):
        refuse_without_gold(found, "truth")


def test_our_own_label_is_no_gold_label(run: Path) -> None:
    with pytest.raises(InputError, match=r"--gold-column label: it is an output column"):
        opened(run, "label")


def test_a_slice_that_was_not_carried_is_named(run: Path) -> None:
    with pytest.raises(InputError, match=r"--slices genre: the run has no such column, but pair_id, premise"):
        opened(run, "gold_label", "genre")


def test_a_folder_where_nothing_is_published_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no _SUCCESS; give the folder of a published run"):
        opened(tmp_path)


def test_a_manifest_that_is_none_is_refused(run: Path) -> None:
    (run / "_SUCCESS").write_text("{}")
    with pytest.raises(InputError, match=r"_SUCCESS is not of format 1"):
        opened(run)


@pytest.mark.parametrize("rows", [19, 21])
def test_a_part_with_other_rows_than_planned_is_not_evaluated(run: Path, rows: int) -> None:
    found = opened(run)
    part = run / found.manifest.files[1].path
    table = pq.read_table(part)
    pq.write_table(pa.concat_tables([table, table]).slice(0, rows), part)
    with pytest.raises(InputError, match=r"rows, but plan and rejected rows leave 20; recount the run"):
        list(found.batches())


def test_a_part_that_is_gone_or_damaged_is_named(run: Path) -> None:
    found = opened(run)
    part = run / found.manifest.files[1].path
    part.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=part.name):
        list(found.batches())
    part.unlink()
    with pytest.raises(InputError, match=rf"_SUCCESS names {part.name}, which is missing"):
        list(found.batches())


def test_runs_of_other_input_are_not_compared(run: Path, tmp_path: Path) -> None:
    same = published_run(tmp_path / "again", pairs_with_gold(), ROWS)
    refuse_other_input(opened(run), opened(same))
    other = published_run(tmp_path / "elsewhere" / "out", pairs_with_gold().slice(1), made_up_rows(46, seed=1))
    with pytest.raises(InputError, match=r"their inputs differ, first in a.parquet.*give two runs of the same files"):
        refuse_other_input(opened(run), opened(other))
