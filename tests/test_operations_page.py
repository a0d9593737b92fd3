"""`docs/operations.md` says what the code and the files in `deploy/` say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import pytest
from deployment import DEPLOY, ROOT, ends, placeholders

from benchmarks.scale import Assumptions, Needs, needs

PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
MEASURED: Final = json.loads((ROOT / "benchmarks" / "results" / "2026-11-25-scale.json").read_text())
ASSUMED: Final = MEASURED["assumptions"]


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in `text`."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_every_name_that_is_to_be_filled_in_is_explained() -> None:
    files = [ROOT / "cluster.yaml", *(path for path in DEPLOY.rglob("*") if path.is_file())]
    used = set[str]().union(*(placeholders(path.read_text()) for path in files))
    explained = {name for cells in rows(section("Before the first night")) for name in placeholders(cells[0])}
    assert explained == used


def test_every_policy_has_a_role_that_takes_it() -> None:
    named = {
        policy
        for cells in rows(section("Before the first night"))
        if cells[0].startswith("`albert-infer-")
        for policy in re.findall(r"`(\w+)`", cells[1])
    }
    assert named == {path.stem for path in (DEPLOY / "iam").glob("*.json")} - {"trust-ec2"}


def test_every_exit_code_of_the_job_has_a_row() -> None:
    codes = " ".join(cells[0] for cells in rows(section("What an exit code means")))
    told = {int(code) for code in re.findall(r"\d+", codes)}
    assert told >= {0, 1, *(end.exit_code for end in ends())}


@pytest.mark.parametrize("gpus", [1, 8, 64])
def test_the_sizes_are_those_that_the_benchmark_computes(gpus: int) -> None:
    needed = hour_of(gpus)
    [cells] = [cells for cells in rows(section("How much of what")) if cells[0] == str(gpus)]
    memory = MEASURED["planned"][-1]
    bytes_a_unit = (memory["peak_bytes"] - memory["start_bytes"]) / memory["units"]
    assert cells[1:] == [
        f"{needed.pairs_per_second * 3600:,.0f}",
        f"{needed.tokenizing_cores} + {needed.committing_cores}",
        f"{needed.read_megabytes_per_second:.0f} + {needed.written_megabytes_per_second:.0f} MB/s",
        f"{needed.footer_seconds / 60:.1f} min",
        f"{needed.seal_and_publish_seconds / 60:.1f} min",
        f"{needed.units * bytes_a_unit / 1e9:.2f} GB",
        f"{needed.price:.2f}",
    ]


def hour_of(gpus: int) -> Needs:
    """What an hour of labelling takes, in files as large as in the measurement."""
    pairs = int(gpus * ASSUMED["gpu_pairs_per_second"] * 3600)
    files = pairs * ASSUMED["input_files"] // ASSUMED["total_pairs"]
    return needs(Assumptions(**{**ASSUMED, "total_pairs": pairs, "input_files": files}))
