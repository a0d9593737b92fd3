"""Every promise names a test that fails when it is broken: the tables of `tests/README.md` are whole and true."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from albert_infer import errors
from albert_infer.operations.nightly import NightEnd
from albert_infer.pipeline import metrics
from albert_infer.schema import Quarantine, Rejection

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PAGE = (TESTS / "README.md").read_text("utf-8")
# The lines of the tables: a promise, and tests in backticks.
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
PROMISES = [row for row in ROWS if row != ["promise", "tests"]]
# Every test of a page is called by this name, where it stands.
TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


@pytest.mark.parametrize(("promise", "tests"), PROMISES, ids=[promise[:60] for promise, _ in PROMISES])
def test_every_promise_names_tests_that_there_are(promise: str, tests: str) -> None:
    named = TEST.findall(tests)
    assert named, promise
    assert len(named) == tests.count("`") // 2, f"only tests, each as file::name: {tests}"
    assert [f"{file}::{name}" for file, name in named if name not in names_in(file)] == []


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the test functions of a module."""
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def headings(page: Path) -> Iterator[str]:
    """The links to the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for title in re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


# Sections of the README that lead to pages, which have their promises; and the pages that only lead to others.
LEAD_ELSEWHERE = {"../README.md#documentation", "../docs/index.md"}


def test_every_heading_of_the_readme_and_every_page_has_its_promises() -> None:
    wanted = {f"../README.md#{heading}" for heading in headings(ROOT / "README.md")}
    wanted |= {f"../{page.relative_to(ROOT).as_posix()}" for page in (ROOT / "docs").rglob("*.md")}
    wanted |= {"../CONTRIBUTING.md", "../SECURITY.md", "../examples/README.md"}
    linked = set(re.findall(r"\]\((\.\./[^)]+)\)", PAGE))
    sections = {link for link in linked if link.startswith("../docs/") and "#" in link}
    assert (wanted - linked - LEAD_ELSEWHERE, linked - wanted - sections) == (set(), set())
    for link in sections:
        page, _, heading = link.partition("#")
        assert heading in set(headings(TESTS / page)), link


CLOSED_LISTS = {
    "jobs": {path.name for path in (ROOT / "jobs").glob("*.py")},
    "reasons of rejected rows": {*map(str, Rejection)},
    "reasons of files and units": {*map(str, Quarantine)},
    "ends of nights": {*map(str, NightEnd)},
    "metrics": {metric.exported for metric in metrics.ALL},
}


@pytest.mark.parametrize("kind", CLOSED_LISTS)
def test_every_member_of_a_closed_list_stands_in_a_promise(kind: str) -> None:
    promised = {name for promise, _ in PROMISES for name in re.findall(r"`([^`]+)`", promise)}
    assert CLOSED_LISTS[kind] - promised == set()


def test_every_exit_code_and_every_invariant_stands_in_a_promise() -> None:
    codes = {0, *(kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code"))}
    promised = "\n".join(promise for promise, _ in PROMISES)
    assert codes == {int(code) for code in re.findall(r"Exit code (\d)", promised)}
    invariants = re.findall(
        r"^\| (I\d) \|", (ROOT / "docs" / "explanation" / "publishing.md").read_text("utf-8"), re.MULTILINE
    )
    assert invariants
    assert {*invariants} == {*re.findall(r"\bI\d\b", promised)}
