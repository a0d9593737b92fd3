"""A sample of an input: the same rows each time, from all over it, no more than asked for, judged as in a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_runs import break_page
from pairs import PROPERTY, pair_table, planned, wordpiece, write_pairs

from albert_infer import storage
from albert_infer.job.estimate.sampling import SLICES, Sample, sampled, slice_at, spread_slices
from albert_infer.prepare.tokenization import PairTokenizer
from albert_infer.read.planning import Plan
from albert_infer.read.survey import InputFile
from albert_infer.schema import PairColumns
from albert_infer.storage import ObjectPin

MINUTE = 60.0


def tokenizer(max_length: int = 64) -> PairTokenizer:
    cls, sep = "[CLS]", "[SEP]"
    return PairTokenizer(wordpiece().to_str(), cls_token=cls, sep_token=sep, max_length=max_length)


def sample_of(plan: Plan, *, rows: int, seconds: float = MINUTE, max_length: int = 64) -> Sample:
    folder = storage.open_folder(plan.input_uri)
    return sampled(folder, plan.files, plan.units, PairColumns(), tokenizer(max_length), rows=rows, seconds=seconds)


@pytest.fixture(scope="module")
def sorted_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve files of 1,000 pairs, the shortest first: the worst order for a sample."""
    folder = tmp_path_factory.mktemp("sorted")
    words = [1 + row // 600 for row in range(12_000)]
    for number in range(12):
        texts = ["dog " * count for count in words[number * 1000 : (number + 1) * 1000]]
        write_pairs(folder / f"{number:02d}.parquet", pair_table(texts, ["a man"] * 1000), row_group_size=300)
    return folder


@pytest.mark.computes
def test_a_sample_of_a_sorted_input_has_its_mean(sorted_pairs: Path) -> None:
    sample = sample_of(planned(sorted_pairs), rows=1_000)
    mean = 10.5 + 2 + 3
    assert not sample.is_whole
    assert 900 <= sample.rows <= 1_000
    assert sample.lengths.mean() == pytest.approx(mean, rel=0.05)
    assert 0 < sample.tokens_margin < 0.2


@pytest.mark.computes
def test_the_same_rows_are_taken_each_time(sorted_pairs: Path) -> None:
    plan = planned(sorted_pairs)
    first, again = (sample_of(plan, rows=500).lengths.tolist() for _ in range(2))
    assert first == again


def test_an_input_that_is_small_is_read_whole(tmp_path: Path) -> None:
    pairs = pair_table(["a dog", None, " ", "a dog", "the man plays"], ["music", "a", "b", "music", "a man"])
    write_pairs(tmp_path / "a.parquet", pairs, row_group_size=2)
    sample = sample_of(planned(tmp_path), rows=5)
    assert sample.is_whole
    assert (sample.rows, len(sample.lengths), sample.rejected) == (5, 3, {"null_text": 1, "empty_text": 1})
    assert sample.lengths.tolist() == [6, 6, 8]
    assert sample.tokens_margin == 0.0


def test_pairs_that_repeat_are_counted_within_a_unit(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", pair_table(["a dog"] * 8, ["music", "a man"] * 4), row_group_size=4)
    assert sample_of(planned(tmp_path), rows=100).repeated == 6 / 8
    assert sample_of(planned(tmp_path, unit_rows=4), rows=100).repeated == 4 / 8
    # Of a larger input some units are read whole.
    assert sample_of(planned(tmp_path, unit_rows=4), rows=5).repeated == 4 / 8


def test_pairs_that_are_cut_or_do_not_fit_are_counted(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", pair_table(["dog " * 20, "a dog", "a"], ["music", "a man", "man " * 20]))
    sample = sample_of(planned(tmp_path), rows=3, max_length=10)
    assert (sample.truncated, sample.rejected) == (1, {"hypothesis_too_long": 1})


def test_a_part_that_cannot_be_read_is_counted_and_no_error(tmp_path: Path) -> None:
    letters = np.random.default_rng(0).choice(list("abcdefgh"), (64, 40))
    texts = ["".join(row) for row in letters]
    pairs = pair_table(texts, texts).add_column(0, "pair_id", pa.array(range(64)))
    path = write_pairs(tmp_path / "a.parquet", pairs, row_group_size=32)
    break_page(path, 0)
    sample = sample_of(planned(tmp_path, unit_rows=32), rows=100)
    assert (sample.rows, sample.unreadable) == (32, {"bad_page": 1})


def test_no_slice_begins_after_the_time_is_over(sorted_pairs: Path) -> None:
    sample = sample_of(planned(sorted_pairs), rows=12_000, seconds=-1)
    assert (sample.rows, sample.is_whole, sample.repeated, len(sample.lengths)) == (0, False, None, 0)


def test_an_input_without_rows_has_a_sample_without_rows(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.parquet", pair_table([], []))
    sample = sample_of(planned(tmp_path), rows=10)
    assert (sample.rows, sample.is_whole, sample.repeated) == (0, True, None)


GROUPS = st.lists(st.integers(0, 50), min_size=1, max_size=6)


@PROPERTY
@given(GROUPS, st.data())
def test_a_slice_is_rows_of_its_groups(groups: list[int], data: st.DataObject) -> None:
    total = sum(groups)
    if not total:
        return
    file = InputFile(ObjectPin("a", 1, "1"), tuple(groups))
    cut = slice_at(file, data.draw(st.integers(0, total - 1)), data.draw(st.integers(1, 80))).range
    before = sum(groups[: cut.first_group])
    assert cut.first_row >= 0
    assert cut.first_row + cut.rows <= total
    assert before + cut.skip == cut.first_row
    assert cut.skip < groups[cut.first_group]
    assert sum(groups[: cut.last_group]) < cut.first_row + cut.rows <= sum(groups[: cut.last_group + 1])


@PROPERTY
@given(st.lists(GROUPS, min_size=1, max_size=5), st.integers(1, 300))
def test_slices_are_spread_and_no_more_than_asked_for(files: list[list[int]], rows: int) -> None:
    named = [InputFile(ObjectPin(str(number), 1, "1"), tuple(groups)) for number, groups in enumerate(files)]
    if not sum(file.rows for file in named):
        return
    slices = spread_slices(named, rows, np.random.default_rng(0))
    assert len(slices) == min(SLICES, rows)
    assert 1 <= sum(part.range.rows for part in slices) <= rows
