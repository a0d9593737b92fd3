"""The tutorials are true: their steps work in order, as they are on the page, and print what the page shows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import evaluate
import plan_labels
import pytest
import verify_labels
from job_runs import Outcome, run_inline, run_main
from page_commands import commands
from test_pages import DOCS, FENCED

# Probabilities in bf16 and in fp32, and those of two processors, differ by less.
TOLERANCE = 0.01
# Steps with a million texts are checked with the parser of flags only.
MILLION = "million"
JOBS: dict[str, Callable[..., Outcome]] = {
    "label_pairs.py": run_inline,
    "verify_labels.py": partial(run_main, verify_labels.main),
    "evaluate.py": partial(run_main, evaluate.main),
    "plan_labels.py": partial(run_main, plan_labels.main),
}


@pytest.mark.process
@pytest.mark.usefixtures("one_thread")
def test_the_steps_work_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    ran = []
    for language, block in FENCED.findall((DOCS / "tutorial.md").read_text("utf-8")):
        if language == "python":
            exec(compile(block, "tutorial.md", "exec"), names)  # noqa: S102  (our own page)
        if language == "bash":
            for job, argv in commands(block):
                outcome = JOBS[job](*argv)
                assert outcome.exit_code == 0, outcome.stderr
                ran.append(job)
    assert ran == ["label_pairs.py", "verify_labels.py"]
    assert names["labels"]["label"].tolist()[0] == "entailment"
    assert len(names["labels"]) == 2
    assert names["rejected"]["rejection"].tolist() == ["empty_text"]


@pytest.mark.process
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("page", "runs", "plans"), [("topics.md", 4, 0), ("consistency.md", 3, 1)])
def test_the_steps_with_many_questions_print_what_the_page_shows(
    page: str, runs: int, plans: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = FENCED.findall((DOCS / "tutorials" / page).read_text("utf-8"))
    steps = [(language, block) for language, block in blocks if MILLION not in block]
    ran = []
    for (language, block), (_, after) in zip(steps, [*steps[1:], ("", "")], strict=True):
        if language == "python":
            printed = StringIO()
            with redirect_stdout(printed):
                exec(compile(block, page, "exec"), names)  # noqa: S102  (our own page)
            if printed.getvalue():
                assert_same_words(printed.getvalue(), after)
        if language == "bash":
            for job, argv in commands(block):
                outcome = JOBS[job](*argv)
                assert outcome.exit_code == 0, outcome.stderr
                ran.append(job)
    assert Counter(ran) == Counter(
        {"label_pairs.py": runs, "plan_labels.py": plans, "verify_labels.py": 1, "evaluate.py": 1}
    )


def assert_same_words(printed: str, shown: str) -> None:
    """Compare two texts word by word: numbers with a fraction may differ by TOLERANCE, and blanks do not count."""
    words, of_page = printed.split(), shown.split()
    assert len(words) == len(of_page), printed
    for word, expected in zip(words, of_page, strict=True):
        if re.fullmatch(r"-?\d+\.\d+", expected):
            assert float(word) == pytest.approx(float(expected), abs=TOLERANCE), printed
        else:
            assert word == expected, printed
