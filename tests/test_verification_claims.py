"""Whatever stands where a run says what it holds: it is a finding, and never the end of a recount."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import verify_labels
from evaluated_rows import made_up_rows, published_run
from job_runs import manifest_of, run_main
from pairs import numbered_pairs

from albert_infer.errors import InputError
from albert_infer.learning.evaluation.runs import open_run
from albert_infer.storage import DEFAULT_ACCESS
from albert_infer.verification.claims import MAX_CLAIM_BYTES
from albert_infer.verification.recount import UNIT_KEY

ROWS = made_up_rows(24, seed=2, unknown=0.0)
DEEP = "[" * 100_000
Damage = Callable[[Path], object]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Give a run of two units."""
    return published_run(tmp_path / "out", numbered_pairs(24), ROWS, rejected=(), carry="", unit_rows=12)


def plan_of(run: Path) -> Path:
    return run / "_runs" / str(manifest_of(run)["plan_id"]) / "plan.json"


def told(path: Path, change: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


def a_long_file(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(MAX_CLAIM_BYTES + 1)


# Of the manifest or of the plan, and what is said of it.
OF_EITHER: dict[str, tuple[Damage, str]] = {
    "nested deeply": (lambda path: path.write_text(DEEP), "recursion limit"),
    "nested deeply where nobody looks": (
        lambda path: path.write_text(path.read_text().replace("{", f'{{"more": {DEEP}', 1)),
        "recursion limit",
    ),
    "a file of nothing": (lambda path: told(path, lambda value: value.update(files=[{}])), "files.0."),
    "a list": (lambda path: path.write_text("[]"), "an object"),
    "not UTF-8": (lambda path: path.write_bytes(b'{"\xff": 1}'), "invalid unicode"),
    "a number of 5,000 digits": (
        lambda path: path.write_text(path.read_text().replace("{", f'{{"more": {"9" * 5_000}, ', 1)),
        "out of range",
    ),
    "a number that no count is": (lambda path: told(path, lambda value: value.update(rows_in=10**30)), "rows_in"),
    "an id that is a path": (lambda path: told(path, lambda value: value.update(plan_id="../../x")), "plan_id"),
    "too long": (a_long_file, f"{MAX_CLAIM_BYTES:,}"),
}
OF_PLAN: dict[str, tuple[Damage, str]] = {
    "an input of no kind": (lambda path: told(path, lambda plan: plan.update(input_uri="ftp://x")), "input_uri"),
    "a unit that no memory holds": (
        lambda path: told(path, lambda plan: plan["units"][0]["range"].update(rows=10**15)),
        "units.0.range.rows",
    ),
    "a dangling link": (a_dangling_link, "plan"),
}


@pytest.mark.parametrize(
    ("of_plan", "damage", "told_of"),
    [pytest.param(False, *damage, id=f"manifest: {name}") for name, damage in OF_EITHER.items()]
    + [pytest.param(True, *damage, id=f"plan: {name}") for name, damage in {**OF_EITHER, **OF_PLAN}.items()],
)
def test_what_is_no_manifest_and_no_plan_is_a_finding_and_cannot_be_evaluated(
    run: Path, of_plan: bool, damage: Damage, told_of: str
) -> None:
    damage(plan_of(run) if of_plan else run / "_SUCCESS")
    verified = run_main(verify_labels.main, "--output", run)
    assert verified.exit_code == 5, verified.stderr
    assert [line for line in verified.stdout.splitlines() if line.startswith("finding ") and told_of in line]
    with pytest.raises(InputError) as refused:
        open_run("--run", str(run), "gold_label", (), DEFAULT_ACCESS)
    assert told_of in str(refused.value)


@pytest.mark.parametrize("footer", [DEEP, "[]", "7", '{"unit_id": ' + "9" * 5_000 + "}", "{" * 100_000, '"' * 100_000])
def test_a_footer_that_is_not_ours_is_a_finding_of_its_file(run: Path, footer: str) -> None:
    path = run / manifest_of(run)["files"][0]["path"]
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({UNIT_KEY: footer.encode()}), path)
    verified = run_main(verify_labels.main, "--output", run)
    assert verified.exit_code == 5, verified.stderr
    assert [
        line
        for line in verified.stdout.splitlines()
        if f"{path.name}: expected readable Parquet of albert-infer" in line
    ]
