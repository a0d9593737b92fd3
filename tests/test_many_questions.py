"""Runs with twenty candidates a text: no result is lost or there twice, after kills, late files and other sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked import forked
from job_runs import (
    INLINE_JOB,
    RAY_WARNING,
    Outcome,
    made_up_pairs,
    manifest_of,
    report_of,
    run_here,
    run_inline,
    state_of,
    verify,
    visible_files,
    write_pairs,
)

from albert_infer.common.failpoints import VARIABLE

pytestmark = pytest.mark.filterwarnings(RAY_WARNING)

CANDIDATES = tuple(f"w{number} w{number + 3}" for number in range(20))
TEXTS = 80
BAD = 2


@dataclass(frozen=True)
class Topics:
    """An input of texts without hypotheses, and where its scores and pairs go."""

    source: Path
    output: Path
    checkpoint: Path

    def flags(self, *more: object, candidates: Sequence[str] = CANDIDATES) -> tuple[object, ...]:
        """The command: five units of sixteen texts, which are 320 pairs each."""
        folders = ("--input", self.source, "--output", self.output, "--model", self.checkpoint)
        asked = ("--candidates", ",".join(candidates), "--publish", "both")
        return (*folders, *asked, "--unit-rows", 16 * 20, "--max-rejected-share", 0.2, *more)

    def killed_at(self, point: str, hit: int, folder: Path) -> None:
        """A start that ends like a process that the kernel kills, at the hit of the fail point."""
        folder.mkdir(exist_ok=True)
        env = {VARIABLE: f"{point}:kill:{hit}:{folder}"}
        with forked(INLINE_JOB, *self.flags(), env=env) as process:
            process.wait()
        assert process.returncode != 0
        assert (folder / f"{point}.{hit}").exists()

    def table(self, folder: str = "") -> pa.Table:
        """The published rows of the folder, in order of the files' names."""
        files = sorted((self.output / folder).glob("part-*.parquet"))
        return pa.concat_tables([pq.read_table(file) for file in files])


@pytest.fixture
def topics(checkpoint: Path, tmp_path: Path) -> Topics:
    texts = made_up_pairs(TEXTS, seed=5).select(["pair_id", "premise"])
    premises = texts["premise"].to_pylist()
    premises[3], premises[30] = None, " "
    write_pairs(tmp_path / "in" / "a.parquet", texts.set_column(1, "premise", pa.array(premises, pa.string())))
    return Topics(tmp_path / "in", tmp_path / "out", checkpoint)


def assert_whole(topics: Topics, outcome: Outcome, *, texts: int = TEXTS, bad: int = BAD) -> None:
    """Each text has one row of scores and its pairs once, or one rejected row."""
    assert outcome.exit_code == 0, outcome.stderr
    verify(topics.output, topics.source)
    manifest = manifest_of(topics.output)
    assert (manifest["labelled"], sum(manifest["rejected"].values())) == (texts - bad, bad)
    assert manifest["pairs"] == 20 * (texts - bad)
    scores, pairs = topics.table(), topics.table("_pairs")
    assert len(set(scores["pair_id"].to_pylist())) == scores.num_rows == texts - bad
    asked = list(zip(pairs["pair_id"].to_pylist(), pairs["hypothesis_id"].to_pylist(), strict=True))
    ids = manifest_ids(topics)
    assert asked == [(row, candidate) for row in scores["pair_id"].to_pylist() for candidate in ids]


def manifest_ids(topics: Topics) -> list[str]:
    """The ids of the set in the published plan."""
    plan = topics.output / "_runs" / manifest_of(topics.output)["plan_id"] / "plan.json"
    return [entry[0] for entry in json.loads(plan.read_text())["hypotheses"]]


# The fail point at which a start is killed, and which time it comes to it.
KILLS = [("rejected_put", 1), ("pairs_put", 2), ("part_put", 3), ("file_published", 4), ("success_put", 1)]


@pytest.mark.process
@pytest.mark.parametrize(("point", "hit"), KILLS)
def test_a_killed_start_publishes_nothing_by_halves_and_the_next_one_goes_on(
    topics: Topics, tmp_path: Path, point: str, hit: int
) -> None:
    topics.killed_at(point, hit, tmp_path / "faults")
    staged = state_of(topics.output, "_units/*.parquet")
    if point != "success_put":
        assert not (topics.output / "_SUCCESS").exists()
    if not point.endswith(("published", "success_put")):
        assert visible_files(topics.output) == []
    assert_whole(topics, run_inline(*topics.flags()))
    done = {name for name in staged if name.count(".") == 1}
    if point in {"pairs_put", "part_put"}:
        assert report_of(topics.output)["units"] == {"done_before": len(done), "labelled": 5 - len(done)}
    assert not state_of(topics.output, "_units/*")


@pytest.mark.computes
def test_a_late_file_is_labelled_alone(topics: Topics) -> None:
    assert_whole(topics, run_inline(*topics.flags()))
    first = state_of(topics.output, "**/part-*")
    late = made_up_pairs(10, seed=6).select(["pair_id", "premise"])
    ids = pa.array([f"late {row}" for row in range(10)])
    write_pairs(topics.source / "b.parquet", late.set_column(0, "pair_id", ids))
    assert run_inline(*topics.flags()).exit_code == 6
    assert_whole(topics, run_inline(*topics.flags("--replace")), texts=TEXTS + 10)
    assert report_of(topics.output)["units"] == {"done_before": 5, "labelled": 1}
    assert first.items() < state_of(topics.output, "**/part-*").items()


@pytest.mark.computes
def test_another_set_labels_every_text_again_and_leaves_no_file_of_the_old_one(topics: Topics) -> None:
    assert_whole(topics, run_inline(*topics.flags()))
    first = state_of(topics.output, "**/part-*")
    others = (*CANDIDATES[:-1], "w40")
    assert run_inline(*topics.flags(candidates=others)).exit_code == 6
    assert state_of(topics.output, "**/part-*") == first
    assert_whole(topics, run_inline(*topics.flags("--replace", candidates=others)))
    assert manifest_ids(topics) == list(others)
    assert report_of(topics.output)["units"] == {"done_before": 0, "labelled": 5}
    assert first.keys().isdisjoint(state_of(topics.output, "**/part-*"))


@pytest.mark.computes
@pytest.mark.parametrize("publish", ["pairs", "scores"])
def test_the_rows_of_the_table_that_need_review_are_counted(topics: Topics, publish: str) -> None:
    flags = [*topics.flags("--review-below", 0.06 if publish == "scores" else 0.5)]
    flags[flags.index("--publish") + 1] = publish
    outcome = run_inline(*flags)
    assert outcome.exit_code == 0, outcome.stderr
    verify(topics.output, topics.source)
    marked = sum(topics.table()["needs_review"].to_pylist())
    assert manifest_of(topics.output)["needs_review"] == marked > 0
    assert f"{marked:,} {'pairs' if publish == 'pairs' else 'rows'} marked needs_review" in outcome.stdout


@pytest.mark.ray
@pytest.mark.usefixtures("session")
def test_a_start_on_ray_goes_on_from_a_killed_one(topics: Topics, tmp_path: Path) -> None:
    topics.killed_at("pairs_put", 3, tmp_path / "faults")
    assert_whole(topics, run_here(*topics.flags()))
    assert report_of(topics.output)["units"] == {"done_before": 2, "labelled": 3}
