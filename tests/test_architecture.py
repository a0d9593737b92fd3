"""The page on the architecture names the files that a row passes, in order."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from job_runs import made_up_pairs, run_inline, write_pairs

import albert_infer

ROOT = Path(__file__).parent.parent
PACKAGE = Path(albert_infer.__file__).parent
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
WAY = re.findall(r"^\d+\. `([\w/]+\.py)`", PAGE, re.M)
# What only rows that become several pairs pass.
OF_SEVERAL_PAIRS = re.findall(r"^\| `([\w/]+\.py)` \|", PAGE, re.M)
# What only a run on Ray passes.
ON_RAY = {"pipeline/labelling.py", "pipeline/stages.py", "pipeline/reader.py"}
MOST_FILES = 18


@contextmanager
def files_called() -> Iterator[set[str]]:
    """The files of the package and the jobs in which a function is called while the block goes on."""
    names: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            names.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield names
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def test_a_row_passes_the_files_of_the_page(checkpoint: Path, tmp_path: Path) -> None:
    assert len(WAY) <= MOST_FILES
    paths = {name: (ROOT if name.startswith("jobs/") else PACKAGE) / name for name in WAY}
    assert [name for name, path in paths.items() if not path.is_file()] == []
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(20, seed=1))
    with files_called() as called:
        run = run_inline("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint)
    assert run.exit_code == 0, run.stderr
    assert {name for name, path in paths.items() if str(path) not in called} == ON_RAY


def test_a_row_of_several_pairs_passes_the_files_of_its_table(checkpoint: Path, tmp_path: Path) -> None:
    assert OF_SEVERAL_PAIRS
    write_pairs(tmp_path / "in" / "a.parquet", made_up_pairs(20, seed=1))
    split = ("--split-premise", "sentences", "--split-hypothesis", "sentences", "--publish", "both")
    with files_called() as called:
        run = run_inline("--input", tmp_path / "in", "--output", tmp_path / "out", "--model", checkpoint, *split)
    assert run.exit_code == 0, run.stderr
    assert [name for name in OF_SEVERAL_PAIRS if str(PACKAGE / name) not in called] == []


def test_the_top_of_the_package_is_the_architecture() -> None:
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 20
