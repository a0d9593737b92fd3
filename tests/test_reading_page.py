"""Every recipe of docs/how-to/reading-labels.md runs as it stands there, and gives the rows that it says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from job_runs import made_up_pairs, run_inline, tiny_checkpoint, write_pairs

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "reading-labels.md"
# No dependency of the package or of its tests.
BY_HAND = "pyspark"
CSV = 'pair_id,premise,hypothesis\n1,"two\nlines, one null",007\n2,NULL,\n'


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs in two files, one of them without a premise, and their labels."""
    folder = tmp_path_factory.mktemp("reading")
    pairs = made_up_pairs(12, seed=15)
    texts = [None if row == 5 else text for row, text in enumerate(pairs["premise"].to_pylist())]
    pairs = pairs.set_column(1, "premise", pa.array(texts, pa.string()))
    write_pairs(folder / "pairs" / "a.parquet", pairs.slice(0, 8))
    write_pairs(folder / "pairs" / "b.parquet", pairs.slice(8))
    model = tiny_checkpoint(folder / "checkpoint")
    argv = ("--input", folder / "pairs", "--output", folder / "labels", "--model", model, "--max-rejected-share", 0.1)
    assert run_inline(*argv, "--carry-source").exit_code == 0
    shutil.copytree(folder / "labels", folder / "nights" / "dt=2026-11-21")
    (folder / "pairs.csv").write_text(CSV)
    return folder


@pytest.fixture(scope="module")
def found(labelled: Path) -> dict[str, list[Any]]:
    """What each name of the page was bound to, recipe by recipe."""
    bound: dict[str, list[Any]] = {}
    with pytest.MonkeyPatch.context() as here:
        here.chdir(labelled)
        names: dict[str, Any] = {}
        for recipe in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
            if BY_HAND not in recipe:
                before = dict(names)
                exec(compile(recipe, PAGE.name, "exec"), names)  # noqa: S102  (our own page)
                for name in names.keys() - before.keys() | {n for n in before if names[n] is not before[n]}:
                    bound.setdefault(name, []).append(names[name])
    return bound


def test_all_labels_are_read_and_nothing_else(found: dict[str, list[Any]], labelled: Path) -> None:
    with_read_labels, with_pandas, with_pyarrow, with_duckdb, with_polars, _ = found["labels"]
    assert with_read_labels.to_pandas().equals(with_pandas)
    assert with_pandas["pair_id"].tolist() == [f"15-{row}" for row in range(12) if row != 5]
    assert with_pyarrow["label"].to_pylist() == with_pandas["label"].tolist()
    assert with_duckdb["pairs"].sum() == 11
    contradicting = with_pandas[with_pandas["label"] == "contradiction"]
    assert with_polars.columns == list(with_pandas.columns)
    assert with_polars["pair_id"].to_list() == contradicting["pair_id"].tolist() != []
    assert found["nights"][0]["pairs"].tolist() == [11]


def test_every_label_goes_back_to_its_pair(found: dict[str, list[Any]], labelled: Path) -> None:
    by_id, by_place, of_one_file = found["joined"]
    said = {row["pair_id"]: row["label"] for row in found["labels"][1].to_dict("records")}
    for joined in (by_id, by_place):
        assert dict(zip(joined["pair_id"], joined["label"], strict=True)) == said
    assert of_one_file["label"].tolist()[:5] == [said[f"15-{row}"] for row in range(5)]
    assert of_one_file["label"].isna().tolist() == [row == 5 for row in range(8)]


def test_rejected_rows_have_their_place_and_their_reason(found: dict[str, list[Any]], labelled: Path) -> None:
    [row] = found["rejected"][0].to_dict("records")
    assert found["rejected_rows"][0].to_pylist() == [
        {name: row[name] for name in ("source_file", "source_row", "rejection")}
    ]
    assert (row["source_file"], row["source_row"], row["rejection"]) == (
        str(labelled / "pairs/a.parquet"),
        5,
        "null_text",
    )


def test_a_table_of_texts_becomes_pairs_with_every_text_as_it_was(found: dict[str, list[Any]], labelled: Path) -> None:
    assert pq.read_table(labelled / "from_pyarrow.parquet").to_pylist() == [
        {"pair_id": "1", "premise": "two\nlines, one null", "hypothesis": "007"},
        {"pair_id": "2", "premise": "NULL", "hypothesis": ""},
    ]
    assert pq.read_table(labelled / "from_duckdb.parquet").to_pylist() == [
        {"pair_id": "1", "premise": "two\nlines, one null", "hypothesis": "007"},
        {"pair_id": "2", "premise": "NULL", "hypothesis": None},
    ]
