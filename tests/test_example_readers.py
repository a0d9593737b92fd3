"""`examples/` that read published nights: Polars reads them, and what is for Spark is compiled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import polars as pl
import pytest
import read_with_polars
from job_runs import made_up_pairs, run_inline, tiny_checkpoint, write_pairs

EXAMPLES: Final = Path(__file__).parent.parent / "examples"
DATES: Final = ("2026-11-27", "2026-11-28")


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two published nights of 11 labelled pairs and a rejected one each."""
    folder = tmp_path_factory.mktemp("nights")
    pairs = made_up_pairs(12, seed=16).to_pydict()
    pairs["premise"][4] = None
    write_pairs(folder / "pairs" / "a.parquet", pl.DataFrame(pairs).to_arrow())
    argv = ("--input", folder / "pairs", "--output", folder / "labels", "--max-rejected-share", 0.1)
    assert run_inline(*argv, "--model", tiny_checkpoint(folder / "checkpoint")).exit_code == 0
    for date in DATES:
        shutil.copytree(folder / "labels", folder / "nights" / f"dt={date}")
    return folder / "nights"


def test_polars_reads_the_labels_of_all_nights_and_nothing_else(nights: Path) -> None:
    counted = read_with_polars.labels_by_night(read_with_polars.nights(f"{nights}/"))
    assert counted["pairs"].sum() == 22
    assert sorted({str(date) for date in counted["dt"]}) == list(DATES)
    assert counted["probability"].is_between(1 / 3, 1).all()


def test_the_pairs_that_a_person_should_look_at_are_the_least_sure(nights: Path) -> None:
    pairs = read_with_polars.nights(str(nights))
    shown = read_with_polars.least_sure(pairs, rows=3)
    every = pairs.select(pl.max_horizontal("p_entailment", "p_neutral", "p_contradiction")).collect().to_series()
    assert shown["probability"].to_list() == every.sort().head(3).to_list()
    assert shown.columns == ["dt", "premise", "hypothesis", "label", "probability"]


def test_what_is_for_spark_compiles() -> None:
    source = (EXAMPLES / "read_with_spark.py").read_text()
    compile(source, "read_with_spark.py", "exec")
