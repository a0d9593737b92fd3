"""The tutorial is true: its steps work in order, as they stand, and leave what it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import verify_labels
from job_runs import Outcome, run_inline, run_main
from page_commands import commands
from test_pages import DOCS, FENCED


@pytest.mark.process
@pytest.mark.usefixtures("one_thread")
def test_the_steps_work_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    jobs: dict[str, Callable[..., Outcome]] = {
        "label_pairs.py": run_inline,
        "verify_labels.py": partial(run_main, verify_labels.main),
    }
    ran = []
    for language, block in FENCED.findall((DOCS / "tutorial.md").read_text("utf-8")):
        if language == "python":
            exec(compile(block, "tutorial.md", "exec"), names)  # noqa: S102  (our own page)
        if language == "bash":
            for job, argv in commands(block):
                outcome = jobs[job](*argv)
                assert outcome.exit_code == 0, outcome.stderr
                ran.append(job)
    assert ran == ["label_pairs.py", "verify_labels.py"]
    assert names["labels"]["label"].tolist()[0] == "entailment"
    assert len(names["labels"]) == 2
    assert names["rejected"]["rejection"].tolist() == ["empty_text"]
