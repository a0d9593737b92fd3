"""`albert-infer plan` and `--dry-run`: what a run will take, without Ray, without a GPU, and with nothing written."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import plan_labels
import pyarrow as pa
import pytest
from job_runs import Outcome, break_page, made_up_pairs, report_of, run_inline, run_main, state_of, write_pairs

from albert_infer.config import LabelSettings
from albert_infer.config.planning import PlanChoices
from albert_infer.errors import SettingsError
from albert_infer.job.estimate import planning
from albert_infer.job.estimate.earlier import EarlierRun
from albert_infer.job.run import label_pairs
from albert_infer.pipeline.resources import Node
from albert_infer.schema import DeviceKind, Precision

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "plan.md"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two files of 40 and 24 pairs; two rows have no usable text."""
    pairs = made_up_pairs(40, seed=1)
    premises = pairs["premise"].to_pylist()
    premises[3], premises[20] = None, " "
    write_pairs(tmp_path / "in" / "a.parquet", pairs.set_column(1, "premise", pa.array(premises, pa.string())))
    write_pairs(tmp_path / "in" / "b.parquet", made_up_pairs(24, seed=2))
    return tmp_path / "in"


def plan(*argv: object) -> Outcome:
    return run_main(plan_labels.main, *argv)


def planned(*argv: object) -> dict[str, Any]:
    outcome = plan(*argv, "--format", "json")
    assert outcome.exit_code == 0, outcome.stderr
    read: dict[str, Any] = json.loads(outcome.stdout)
    return read


@pytest.mark.computes
def test_a_plan_of_a_small_input_is_what_the_run_then_counts(source: Path, checkpoint: Path) -> None:
    out = source.parent / "out"
    argv = ("--input", source, "--output", out, "--model", checkpoint, "--unit-rows", 16)
    before = planned(*argv)
    assert not out.exists()
    assert (before["plan"]["state"], before["plan"]["units"], before["plan"]["rows"]) == ("to_label", 5, 64)
    assert run_inline(*argv).exit_code == 0
    report = report_of(out)
    assert before["plan"]["plan_id"] == report["plan_id"]
    assert {name: before["counts"][name] for name in ("labelled", "rejected", "tokens", "truncated")} == {
        name: report[name] for name in ("labelled", "rejected", "tokens", "truncated")
    }
    assert before["counts"]["truncated"] == 2


@pytest.mark.computes
def test_a_plan_of_a_published_run_has_nothing_to_do_and_takes_its_rate(source: Path, checkpoint: Path) -> None:
    out = source.parent / "out"
    argv = ("--input", source, "--output", out, "--model", checkpoint)
    assert run_inline(*argv).exit_code == 0
    assert planned(*argv)["rate"]["basis"] != "earlier runs", "a run of a moment says nothing of the speed"
    labelled_for(out, 60.0)
    there = state_of(out)
    again = planned(*argv)
    assert (again["plan"]["state"], again["plan"]["units_labelled"], again["plan"]["rows_labelled"]) == (
        "published",
        2,
        64,
    )
    assert (again["rate"]["basis"], again["cost"]["seconds"]["labelling"]) == ("earlier runs", 0.0)
    # As the run before had them: it had one core.
    assert (again["workers"]["count"], again["workers"]["cores"]) == (1, 1)
    other = planned(*argv, "--max-length", 20)
    assert (other["plan"]["state"], other["plan"]["units_labelled"]) == ("another_plan", 0)
    assert planned(*argv, "--max-length", 20, "--replace")["plan"]["state"] == "to_label"
    assert state_of(out) == there


def labelled_for(output: Path, seconds: float) -> None:
    """Have the report of the run say that it labelled for so long."""
    path = next(output.glob("_runs/*/report.json"))
    report = json.loads(path.read_text())
    report["seconds"]["labelling"] = seconds
    path.write_text(json.dumps(report))


def test_a_plan_of_an_interrupted_run_has_the_rest_to_do(source: Path, checkpoint: Path) -> None:
    out = source.parent / "out"
    argv = ("--input", source, "--output", out, "--model", checkpoint, "--unit-rows", 16, "--max-rejected-share", 0)
    assert run_inline(*argv).exit_code == 3
    last = max((out / "_units").iterdir())
    units = {path.name.partition(".")[0] for path in (out / "_units").iterdir()}
    for path in (out / "_units").glob(f"{last.name.partition('.')[0]}*"):
        path.unlink()
    found = planned(*argv)["plan"]
    assert (found["state"], found["units"], found["units_labelled"]) == ("to_label", 5, len(units) - 1)


def test_a_dry_run_shows_the_plan_and_writes_nothing(source: Path, checkpoint: Path) -> None:
    out = source.parent / "out"
    argv = ("--input", source, "--output", out, "--model", checkpoint)
    dry, shown = run_inline(*argv, "--dry-run"), plan(*argv)
    assert (dry.exit_code, shown.exit_code, out.exists()) == (0, 0, False)
    assert timeless(dry.report) == timeless(shown.report)
    assert dry.summary["plan_id"] == shown.summary["plan_id"]


def timeless(text: str) -> str:
    """The text without what depends on the moment."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,e-]+ s\b|(?<=about )[\d.e-]+|[0-9a-f]{16}", "…", text))


def test_what_writes_nothing_labels_nothing(source: Path) -> None:
    with pytest.raises(SettingsError, match="a dry run writes nothing"):
        label_pairs(LabelSettings(input=str(source), output="out", dry_run=True))


def test_limits_that_the_run_would_not_keep_to_are_named(source: Path, checkpoint: Path) -> None:
    (source / "c.parquet").write_bytes(b"no parquet")
    argv = ("--input", source, "--output", source.parent / "out", "--model", checkpoint)
    stops = planned(*argv, "--max-rows", 10, "--max-rejected-share", 0.01)["stops"]
    assert stops == [
        "64 rows, and --max-rows is 10",
        "1 file that cannot be read, and --max-bad-files is 0",
        "about 3.1% of the rows rejected, and --max-rejected-share is 0.01",
    ]
    allowed = planned(*argv, "--max-bad-files", 1)
    assert (allowed["stops"], allowed["plan"]["files"]) == ([], 3)
    assert [bad["reason"] for bad in allowed["plan"]["quarantined"]] == ["not_parquet"]


def test_a_page_that_cannot_be_read_is_told(source: Path, checkpoint: Path) -> None:
    break_page(source / "b.parquet", 1)
    argv = ("--input", source, "--output", source.parent / "out", "--model", checkpoint, "--unit-rows", 16)
    assert planned(*argv)["sample"]["unreadable"] == {"bad_page": 1}


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--input", "nowhere"), "nothing is there"),
        (("--input", "in", "--premise-column", "text"), "--premise-column text"),
        (("--input", "in", "--model", "nowhere"), "nowhere"),
        (("--input", "in", "--card", "b52"), "card"),
        (("--input", "in", "--dry-run"), "leave it out: a plan writes nothing"),
    ],
)
def test_what_the_run_would_refuse_is_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], text: str
) -> None:
    monkeypatch.chdir(source.parent)
    outcome = plan(*argv, "--output", "out")
    assert outcome.exit_code == 2
    assert text in outcome.stderr


@pytest.mark.computes
def test_card_workers_and_price_make_time_and_cost(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALBERT_INFER_PRECISION")
    argv = ("--input", source, "--output", source.parent / "out", "--card", "h100", "--workers", "1:4")
    found = planned(*argv, "--price-per-hour", 3.5, "--unit-rows", 16, "--gpus-per-worker", 0.5)
    assert found["workers"] == {"count": 4, "device": "cuda", "card": "h100", "gpus": 0.5, "cores": 0}
    cost = found["cost"]
    assert cost["device_hours"] == pytest.approx(4 * 0.5 * cost["total_seconds"] / 3600, abs=1e-5)
    assert cost["price"] == pytest.approx(3.5 * cost["device_hours"], abs=1e-3)
    assert found["precision"] == "bf16"
    old = planned(*argv[:4], "--card", "t4")
    assert (old["precision"], old["rate"]["tokens_per_second"]) == ("fp16", 3_700 * 28)
    processor = planned(*argv[:4], "--card", "cpu-avx2", "--workers", 3, "--cpus-per-worker", 8)
    assert processor["workers"] == {"count": 3, "device": "cpu", "card": "cpu-avx2", "gpus": 0.0, "cores": 8}
    assert processor["precision"] == "fp32"


def test_the_run_after_an_estimate_has_the_differences_in_its_report(source: Path, checkpoint: Path) -> None:
    out = source.parent / "out"
    assert run_inline("--input", source, "--output", out, "--model", checkpoint).exit_code == 0
    estimate = report_of(out)["estimate"]
    assert (estimate["sampled_rows"], estimate["workers_used"]) == (64, 1)
    assert {name: estimate["differences"][name] for name in ("labelled", "rejected", "tokens")} == {
        "labelled": 0.0,
        "rejected": 0.0,
        "tokens": 0.0,
    }
    assert {"seconds.startup", "seconds.labelling", "seconds.total"} < estimate["differences"].keys()


def test_the_page_shows_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("ALBERT_INFER_PRECISION")
    [(command, shown)] = re.findall(r"^\$ albert-infer plan (.*)\n((?:.+\n)+?)```$", PAGE.read_text(), re.MULTILINE)
    settings = planning_settings(shlex.split(command))
    printed = planning.forecast(settings.label_settings, settings).to_text(width=80)
    assert timeless(printed) == timeless(shown.rstrip("\n"))


def planning_settings(argv: list[str]) -> Any:
    from albert_infer.config import PlanSettings, parse_settings

    return parse_settings(PlanSettings, argv, program="plan", about="")


@pytest.mark.process
def test_a_plan_loads_neither_ray_nor_torch(source: Path, checkpoint: Path) -> None:
    script = """
import sys
import plan_labels
code = plan_labels.main(sys.argv[1:])
print(code, *(name for name in ("ray", "torch", "transformers") if name in sys.modules))
"""
    argv = ("--input", source, "--output", source.parent / "out", "--model", checkpoint)
    command = [sys.executable, "-c", script, *map(str, argv)]
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'jobs'}", "PATH": ""}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=path)
    assert ended.stdout.splitlines()[-1] == "0", ended.stdout


LAST = EarlierRun("p", "d", DeviceKind.CUDA, "l4", Precision.BF16, 1.0, 3, 0.5, 1.0, 1.0)
ON_CPUS = replace(LAST, device=DeviceKind.CPU, card=None, devices_each=8.0)
HERE = Node(cpus=8, gpus=0)


@pytest.mark.parametrize(
    ("settings", "choices", "runs", "workers"),
    [
        ({}, {}, (), (1, "cpu", 8)),
        ({"workers": "2", "cpus_per_worker": 2}, {}, (), (2, "cpu", 4)),
        ({}, {}, (LAST,), (3, "l4", 0.5)),
        ({"workers": "5"}, {}, (LAST,), (5, "l4", 0.5)),
        ({}, {}, (ON_CPUS, LAST), (3, "cpu", 8)),
        ({"gpus_per_worker": 0}, {}, (LAST,), (1, "cpu", 8)),
        ({"gpus_per_worker": 1}, {}, (), (1, None, 1)),
        ({"gpu_wait_minutes": 5}, {}, (ON_CPUS,), (1, None, 1)),
        ({}, {"card": "h100"}, (LAST,), (1, "h100", 1)),
        ({"workers": "2:6", "gpus_per_worker": 0.5}, {"card": "t4"}, (), (6, "t4", 0.5)),
        ({"workers": "2"}, {"card": "cpu-avx2"}, (LAST,), (2, "cpu-avx2", 4)),
    ],
)
def test_workers_are_those_of_the_settings_the_last_run_or_this_machine(
    settings: dict[str, Any], choices: dict[str, Any], runs: tuple[EarlierRun, ...], workers: tuple[int, str, float]
) -> None:
    label_settings = LabelSettings.model_validate({"input": "in", "output": "out", **settings})
    asked = PlanChoices.model_validate(choices)
    expected, resources = planning.workers_of(label_settings, asked, runs, HERE)
    count, card, devices = workers
    assert (expected.count, expected.devices_each) == (count, devices)
    assert expected.card == card or (card == "cpu" and str(expected.card).startswith("cpu-"))
    assert expected.device == resources.device
