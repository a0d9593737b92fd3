"""Readers of Parquet folders see a run when it is published, and nothing of it before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import ray
from job_runs import RAY_WARNING, made_up_pairs, run_inline, staged_units, tiny_checkpoint, write_pairs

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings(RAY_WARNING)]


# In the order in which readers of the input sort them; each is a unit.
NAMES = ("a b+c%20.parquet", "a-b.parquet", "a.parquet", "a/b.parquet", "a0.parquet", "region=eu/x.parquet", "é.pq")


@dataclass(frozen=True)
class Outputs:
    """The same output before and after it was published, and the ids of its labelled pairs."""

    held_back: Path
    published: Path
    ids: list[str]


@pytest.fixture(scope="module")
def outputs(session: None, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """A run of units of several files with a rejected row in each, held back by its limit and then accepted."""
    folder = tmp_path_factory.mktemp("readers")
    pairs = made_up_pairs(16 * (2 + len(NAMES)), seed=15)
    texts = [None if row % 16 == 5 else text for row, text in enumerate(pairs["premise"].to_pylist())]
    pairs = pairs.set_column(1, "premise", pa.array(texts, pa.string()))
    write_pairs(folder / "in" / "0.parquet", pairs.slice(0, 32))
    for number, name in enumerate(NAMES, 2):
        write_pairs(folder / "in" / name, pairs.slice(16 * number, 16))
    checkpoint = tiny_checkpoint(folder / "checkpoint")
    argv = ("--input", folder / "in", "--output", folder / "out", "--model", checkpoint, "--unit-rows", 16)
    assert run_inline(*argv).exit_code == 3
    assert len(staged_units(folder / "out")) == 2 + len(NAMES), "there is something to be seen too early"
    shutil.copytree(folder / "out", folder / "held")
    assert run_inline(*argv, "--max-rejected-share", 0.1).exit_code == 0
    ids = [pair_id for row, pair_id in enumerate(pairs["pair_id"].to_pylist()) if row % 16 != 5]
    return Outputs(folder / "held", folder / "out", ids)


def duckdb_rows(folder: Path) -> pa.Table:
    with duckdb.connect() as connection:
        return connection.read_parquet(f"{folder}/*.parquet").to_arrow_table()


READERS: dict[str, Callable[[Path], pa.Table]] = {
    "pyarrow.dataset": lambda folder: ds.dataset(folder, format="parquet").to_table(),
    "pyarrow.parquet": pq.read_table,
    "pandas": lambda folder: pa.Table.from_pandas(pd.read_parquet(folder)),
    "ray": lambda folder: pa.Table.from_pandas(ray.data.read_parquet(str(folder)).to_pandas()),
    "duckdb": duckdb_rows,
}
# How a reader says that it found no file; the others return no rows.
NO_FILES = {"ray": Exception, "duckdb": duckdb.IOException}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_sees_exactly_the_labelled_rows_in_the_order_of_the_input(outputs: Outputs, reader: str) -> None:
    rows = READERS[reader](outputs.published)
    # Ray gives blocks in the order in which they are read.
    in_order = list if reader != "ray" else sorted
    assert in_order(rows["pair_id"].to_pylist()) == in_order(outputs.ids)
    assert "region" not in rows.column_names, "a name of ours was taken for a partition"
    assert set(rows["label"].to_pylist()) <= {"entailment", "neutral", "contradiction"}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_sees_nothing_of_a_run_that_is_held_back(outputs: Outputs, reader: str) -> None:
    if reader in NO_FILES:
        with pytest.raises(NO_FILES[reader], match=r"(?i)no .*files"):
            READERS[reader](outputs.held_back)
    else:
        assert READERS[reader](outputs.held_back).num_rows == 0
