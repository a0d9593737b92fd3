"""A run on Ray and a run in this process leave the same objects, byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from job_runs import RAY_WARNING, Outcome, break_page, made_up_pairs, run_here, run_inline, verify, write_pairs

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("session"), pytest.mark.filterwarnings(RAY_WARNING)]

# The number and the token of a publication, in the final name of a file.
TOKEN = re.compile(r",\d+-[0-9a-f]{8}(?=\.parquet$)")
# What differs between two starts of one run: times, workers, and ids of publications.
OF_A_START = {"report.json", "report.html", "begun.json", "sealed.json", "_SUCCESS"}


@dataclass(frozen=True)
class Case:
    """Starts of the job one after the other, each with its exit code."""

    starts: Sequence[tuple[Sequence[object], int]]
    pairs: pa.Table = field(default_factory=lambda: made_up_pairs(100, seed=1))
    is_damaged: bool = False


BAD = made_up_pairs(60, seed=2).set_column(1, "premise", pa.array([None, "", *["w1 w2"] * 58]))
LONG = made_up_pairs(40, seed=3).set_column(1, "premise", pa.array([" ".join(["w1 w2 w3"] * 40)] * 40))
ACCEPTED = ("--max-bad-files", 9, "--max-rejected-share", 1)
INT8 = ("--precision", "int8", "--review-below", 0.5, "--min-agreement", 0)
TOPICS = ("--candidates", "w1,w2 w3,w9", "--hypothesis-template", "w4 {}")
# A start whose labels another start of its case replaces.
FIRST = ((), 0)
CASES = {
    "rejected rows and a quarantined unit": Case([((*ACCEPTED, "--carry", "all", "--carry-source"), 0)], BAD, True),
    "windows, in int8, with rows to review": Case([((*INT8, "--long-premise", "window"), 0)], LONG),
    # The first start labels every unit, and is not published; the second labels none.
    "resumed": Case([(("--max-rejected-share", 0.01), 3), (("--max-rejected-share", 1), 0)], BAD),
    "topics, with rejected rows": Case([((*ACCEPTED, *TOPICS, "--publish", "both"), 0)], BAD),
    "sentences, of which pairs are published": Case(
        [(("--split-premise", "sentences", "--split-hypothesis", "sentences", "--publish", "pairs"), 0)], LONG
    ),
    "good pairs, then replaced": Case([FIRST, (("--replace", "--max-length", 16), 0)]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_ray_and_this_process_leave_the_same_objects(case: Case, checkpoint: Path, tmp_path: Path) -> None:
    source, output = write_pairs(tmp_path / "in" / "a.parquet", case.pairs), tmp_path / "out"
    write_pairs(tmp_path / "in" / "b.parquet", made_up_pairs(30, seed=9))
    if case.is_damaged:
        break_page(source, group=2)
    on_ray = left_by(run_here, case, checkpoint, output)
    output.rename(tmp_path / "kept")
    inline = left_by(run_inline, case, checkpoint, output)
    assert inline == on_ray
    assert any(name.startswith("part-") for name in inline)
    verify(output, tmp_path / "in")
    said = [json.loads((folder / "_SUCCESS").read_text()) for folder in (tmp_path / "kept", output)]
    assert said[0]["plan_id"] == said[1]["plan_id"]
    assert [said[0][name] for name in ("labels", "rejected", "tokens")] == [
        said[1][name] for name in ("labels", "rejected", "tokens")
    ]


def left_by(run: Callable[..., Outcome], case: Case, checkpoint: Path, output: Path) -> dict[str, bytes]:
    """The bytes of every object that the starts leave, by its name without the id of a publication."""
    source = output.parent / "in"
    for flags, exit_code in case.starts:
        start = run_inline if (flags, exit_code) == FIRST else run
        outcome = start("--input", source, "--output", output, "--model", checkpoint, "--unit-rows", 16, *flags)
        assert outcome.exit_code == exit_code, outcome.stderr
    files = [path for path in output.rglob("*") if path.is_file() and path.name not in OF_A_START]
    return {TOKEN.sub("", str(path.relative_to(output))): path.read_bytes() for path in files}
