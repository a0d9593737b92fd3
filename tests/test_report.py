"""The report has the promised keys, counts what was committed, and can be read by a person."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from albert_infer import storage
from albert_infer.engine.kernel_use import KernelState, KernelUse
from albert_infer.errors import LimitError, SettingsError
from albert_infer.job.quarantine import quarantine_counts
from albert_infer.job.report import Report, Seconds
from albert_infer.job.report_file import reported
from albert_infer.output import layout
from albert_infer.output.manifest import Manifest
from albert_infer.preflight.agreement import Agreement
from albert_infer.preflight.checks import Preflight
from albert_infer.preflight.gate import Accuracy, Gold
from albert_infer.preflight.label_probe import Probe
from albert_infer.preflight.numbers import Numbers
from albert_infer.preflight.swap import Swap, Texts
from albert_infer.schema import DeviceKind, NliLabel, Precision

E, N, C = NliLabel

KEYS = {
    "plan_id", "exit_code", "rows", "labelled", "rejected", "quarantined", "labels", "tokens", "truncated",
    "padding_share", "seconds", "pairs_per_second", "tokens_per_second", "units", "workers", "device", "precision",
    "max_batch_tokens", "out_of_memory", "model", "preflight", "ignored", "leftovers", "versions", "null_ids",
    "leftovers_reason", "duplicate_ids", "late_inputs", "review_below", "needs_review", "windowed", "replaced_plan",
    "error", "pace", "distribution", "drift", "estimate", "card", "device_busy_share", "kernels", "executor",
}  # fmt: skip
BAD_UNIT = {"reason": "bad_page", "detail": "damaged", "uri": "in/b.parquet", "first_row": 0, "rows": 1}
BAD_FILE = {"uri": "in/a.parquet", "size": 1, "version": "1", "reason": "bad_footer", "detail": "cut", "rows": None}
MANIFEST = Manifest.model_validate_json(
    json.dumps(
        {
            "format": 1,
            "plan_id": "0123456789abcdef",
            "rows_in": 1_234_567,
            "labelled": 1_234_560,
            "rejected": {"bad_utf8": 2, "null_text": 3},
            "labels": {"entailment": 1_000_000, "neutral": 234_560},
            "tokens": 30_000_000,
            "truncated": 17,
            "quarantined": {
                "files": [BAD_FILE],
                "units": [{"unit_id": unit_id, **BAD_UNIT} for unit_id in ("1", "2")],
                "rows_known": 2,
            },
            "files": [],
            "rejected_files": [],
            "replaces": [],
            "inputs": [],
            "model": {},
        }
    )
)
PREFLIGHT = Preflight(
    precision=Precision.BF16,
    device=DeviceKind.CUDA,
    fused=True,
    numbers=Numbers(10, 0.9, 0.0123),
    probe=Probe(30, 0.9, (E, N, C), 0.9),
    gold=Gold("gold/", 4, 2, Accuracy(2000, 1500, 0.75, 0.7306, 0.7685), None, None),
    agreement=Agreement(1000, 0.987, 0.9931, 0.0123),
    swap=Swap(Texts(5000, 600, 3300, 50), one_way=0, backwards=0, suspected=False),
)


def filled(**changes: Any) -> Report:
    report = Report(
        plan_id="0123456789abcdef",
        seconds=Seconds(startup=12.3, planning=0.4, labelling=100.0, publishing=1.5),
        pairs_per_second=12_345.6,
        tokens_per_second=300_000.0,
        units={"done_before": 3, "labelled": 70},
        device="cuda",
        precision="bf16",
        model={"source": "builtin", "digest": "5" * 64, "digests": {}, "own_label_map": None, "label_map": []},
    )
    report.preflight = PREFLIGHT
    report.count(MANIFEST)
    for name, value in changes.items():
        setattr(report, name, value)
    return report


def test_the_keys_are_those_that_are_promised() -> None:
    told = json.loads(filled().to_json())
    assert set(told) == KEYS
    assert set(told["seconds"]) == {"startup", "planning", "labelling", "publishing"}
    assert set(told["quarantined"]) == {"files", "units", "rows_known", "reasons"}
    assert set(json.loads(Report().to_json())) == KEYS


def test_the_preflight_is_told_check_by_check_and_is_null_where_there_was_none() -> None:
    assert json.loads(filled().to_json())["preflight"] == {
        "precision": "bf16",
        "device": "cuda",
        "fused": True,
        "numbers": {"pairs": 10, "equal_labels": 0.9, "largest_difference": 0.0123},
        "probe": {
            "pairs": 30,
            "right": 0.9,
            "best_order": ["entailment", "neutral", "contradiction"],
            "best_right": 0.9,
        },
        "gold": {
            "uri": "gold/",
            "skipped": 4,
            "rejected": 2,
            "accuracy": {"pairs": 2000, "right": 1500, "share": 0.75, "low": 0.7306, "high": 0.7685},
            "needing_review": None,
            "needing_none": None,
        },
        "agreement": {"pairs": 1000, "equal_labels": 0.987, "upper_bound": 0.9931, "largest_difference": 0.0123},
        "swap": {
            "texts": {"pairs": 5000, "hypothesis_longer": 600, "premise_repeats": 3300, "hypothesis_repeats": 50},
            "one_way": 0,
            "backwards": 0,
            "suspected": False,
        },
        "sample": {"rows": 0, "tokens": 0, "truncated": 0, "rejected": {}, "length": 0.0, "unknown": 0},
    }
    assert json.loads(Report().to_json())["preflight"] is None
    uncompared = replace(PREFLIGHT, agreement=None, gold=None)
    assert json.loads(filled(preflight=uncompared).to_json())["preflight"]["agreement"] is None
    assert "agreement" not in filled(preflight=uncompared).to_text("out")
    assert "gold" not in filled(preflight=uncompared).to_text("out")


def test_the_counts_are_the_manifests() -> None:
    told = json.loads(filled().to_json())
    assert (told["rows"], told["labelled"], told["tokens"], told["truncated"]) == (1_234_567, 1_234_560, 30_000_000, 17)
    assert told["rejected"] == MANIFEST.rejected
    assert told["labels"] == MANIFEST.labels


def test_quarantined_files_and_units_are_counted_by_reason() -> None:
    assert asdict(quarantine_counts(MANIFEST.quarantined)) == {
        "files": 1,
        "units": 2,
        "rows_known": 2,
        "reasons": {"bad_footer": 1, "bad_page": 2},
    }


def test_ids_that_are_missing_or_doubled_are_told_where_there_are_any() -> None:
    assert "ids " not in filled().to_text("out")
    report = filled()
    report.count(MANIFEST.model_copy(update={"null_ids": 1_200, "duplicate_ids": 3}))
    assert (report.null_ids, report.duplicate_ids) == (1_200, 3)
    (line,) = [line for line in report.to_text("out").splitlines() if line.startswith("ids ")]
    assert "1,200" in line
    assert "3 with the id of an earlier row" in line


def test_objects_that_are_no_input_are_told_by_reason_with_the_first_name() -> None:
    assert "left out" not in filled().to_text("out")
    ignored = {"_SUCCESS": "hidden", "a.csv": "not_parquet", "b.csv": "not_parquet", "c.parquet.bak": "copy"}
    (line,) = [line for line in filled(ignored=ignored).to_text("out").splitlines() if line.startswith("left out ")]
    for told in ("2 as not Parquet, first a.csv", "1 as a copy or half-written, first c.parquet.bak", "first _SUCCESS"):
        assert told in line


def test_rows_that_need_review_are_told_where_that_was_asked_for() -> None:
    assert "review " not in filled().to_text("out")
    report = filled(review_below=0.7)
    assert "0 pairs marked needs_review: the probability of their label is below 0.7" in report.to_text("out")
    report.count(MANIFEST.model_copy(update={"needs_review": 1_200}))
    assert json.loads(report.to_json())["needs_review"] == 1_200
    assert "review       1,200 pairs marked needs_review" in report.to_text("out")


def test_a_label_order_that_overrules_the_checkpoints_own_names_is_told() -> None:
    assert "\nlabel order" not in filled().to_text("out")
    model = {**(filled().model or {}), "own_label_map": (E, N, C)}
    assert "\nlabel order" not in filled(model={**model, "label_map": [E, N, C]}).to_text("out")
    assert (
        "label order  contradiction, neutral, entailment by --label-order; "
        "the checkpoint itself says entailment, neutral, contradiction"
    ) in filled(model={**model, "label_map": [C, N, E]}).to_text("out")


def test_pairs_in_windows_are_told_where_there_are_any() -> None:
    assert "cut          17 pairs longer than the model reads" in filled().to_text("out")
    report = filled()
    report.count(MANIFEST.model_copy(update={"truncated": 0, "windowed": 1_200}))
    assert json.loads(report.to_json())["windowed"] == 1_200
    text = report.to_text("out")
    assert "long pairs   1,200 pairs read in several windows" in text
    assert "cut " not in text


def test_the_versions_that_decide_how_a_run_behaves_are_told() -> None:
    versions = json.loads(filled().to_json())["versions"]
    assert versions.keys() >= {"python", "albert-infer", "ray", "torch", "tokenizers", "pyarrow"}
    assert all(versions.values())


def test_the_text_says_what_a_person_asks_first() -> None:
    text = filled(out_of_memory=1_234).to_text("s3://labels/today")
    for told in (
        "1,234,560 of 1,234,567 pairs",
        "s3://labels/today",
        "entailment 1,000,000",
        "null_text 3",
        "1 file and 2 parts of other files cannot be read (bad_footer 1, bad_page 2), with 2 known rows",
        "12,346 pairs/s",
        "3 of 73 parts of the input were labelled by earlier starts",
        "builtin, in bf16 on cuda",
        "0123456789abcdef",
        "5" * 64,
        "9 of 10 test pairs get the same label as in fp32 on a CPU; probabilities differ by at most 0.01",
        "27 of 30 easy test pairs get the right label: the label order fits",
        "75.0% of 2,000 pairs get their gold label (73.1% to 76.8% at 95% confidence), 2 rejected",
        "987 of 1,000 pairs of the input get the same label in bf16 as in fp32 (98.70%)",
        "1,234 batches did not fit into the device and ran in halves",
        "12.3 s to start, 100.0 s to label, 1.5 s to publish",
    ):
        assert told in text
    assert max(len(line) for line in text.splitlines()) <= 140
    assert len({line.index(line[12:].lstrip()) for line in text.splitlines()}) == 1


def test_the_result_comes_first_and_says_where_everything_is() -> None:
    lines = filled().to_text("s3://labels/today/").splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["published", "labels", "rejected", "quarantined"]
    assert lines[0].endswith("1,234,560 of 1,234,567 pairs labelled, in s3://labels/today/")
    text = "\n".join(lines)
    for place in ("_rejected/", "_runs/0123456789abcdef/report.html"):
        assert f"s3://labels/today/{place}" in text
    assert "logs         of this job: stderr; of Ray: /tmp/ray/session_latest/logs on each machine" in lines


def test_no_word_in_the_text_is_one_of_the_code() -> None:
    text = filled(out_of_memory=2, review_below=0.5, late_inputs=("a",), leftovers=2).to_text("out")
    for word in ("fused", "padding", "unit", "plan ", "beyond doubt", "at most 99", "micro-batch"):
        assert word not in text


@pytest.mark.parametrize(("count", "told"), [(1, "1 pair longer"), (2, "2 pairs longer")])
def test_counts_have_the_right_plural(count: int, told: str) -> None:
    assert told in filled(truncated=count).to_text("out")


@pytest.mark.parametrize("width", [80, 200])
def test_the_text_fits_a_terminal_and_keeps_paths_whole(width: int) -> None:
    output = "s3://bucket/labels/dt=2026-11-21"
    text = filled(out_of_memory=2).to_text(output, width=width)
    assert f"{output}/_runs/0123456789abcdef/report.html" in text
    assert max(map(len, text.splitlines())) <= width
    continued = [line for line in text.splitlines() if line.startswith(" ")]
    assert bool(continued) == (width == 80)
    assert all(len(line) - len(line.lstrip()) == 13 for line in continued)


def test_no_reason_is_told_that_no_worker_reported() -> None:
    assert "slow" not in filled(preflight=replace(PREFLIGHT, device=DeviceKind.CPU, fused=False)).to_text("out")


def test_machines_without_kernels_are_counted_by_the_reason() -> None:
    slow = [KernelUse(name, "bf16 on cpu", KernelState.MISSING, "PATH has no compiler", "install one") for name in "ab"]
    fast = KernelUse("c", "bf16 on cpu", KernelState.COMPILED)
    told = filled(kernels=(*slow, fast))
    reason = "compiled kernels for bf16 on cpu: PATH has no compiler, so labelling is slower; install one (2 machines)"
    assert f"slow         {reason}" in told.to_text("out")
    assert "slow" not in filled(kernels=(fast,)).to_text("out")
    assert json.loads(told.to_json())["kernels"][2] == {
        "machine": "c", "asked": "bf16 on cpu", "state": "compiled", "problem": "", "remedy": "",
    }  # fmt: skip
    assert json.loads(Report().to_json())["kernels"] is None


def test_the_facts_for_a_scheduler_add_up_and_are_plain_values() -> None:
    report = filled()
    facts = json.loads(json.dumps(report.facts()))
    assert facts["rows"] == report.rows
    assert facts["rejected"] == report.rows - report.labelled - report.quarantined.rows_known
    assert facts["quarantined"] == 1 + 2, "a file and two units"
    assert facts["units_labelled"] == 70
    assert facts["plan_id"] == report.plan_id


def test_a_run_that_was_sealed_before_is_told_without_speeds() -> None:
    sealed = filled(units=Report().units, pairs_per_second=0.0, seconds=Seconds(publishing=0.2))
    lines = dict(line.split(maxsplit=1) for line in sealed.to_text("out").splitlines())
    assert {"published", "labels", "model"} <= lines.keys()
    assert {"speed", "time"}.isdisjoint(lines)


def test_a_run_with_nothing_to_do_says_so() -> None:
    text = filled(units={"done_before": 73, "labelled": 0}, seconds=Seconds()).to_text("out")
    assert "published by an earlier start: nothing to do" in text
    assert "pairs/s" not in text


def test_the_report_of_a_start_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    output = storage.open_folder(str(tmp_path / "out"))
    with reported(filled(), output):
        pass
    with pytest.raises(LimitError), reported(filled(), output):
        raise LimitError("a", "b", "c")
    assert json.loads(output.read(layout.report_name(str(filled().plan_id))))["exit_code"] == LimitError.exit_code


def test_a_start_that_was_refused_leaves_the_report_of_an_earlier_one(tmp_path: Path) -> None:
    output = storage.open_folder(str(tmp_path / "out"))
    with reported(filled(rows=7), output):
        pass
    with pytest.raises(SettingsError), reported(filled(), output):
        raise SettingsError("a", "b", "c")
    assert json.loads(output.read(layout.report_name(str(filled().plan_id))))["rows"] == 7


def test_a_name_from_outside_stays_on_its_line() -> None:
    named = filled(late_inputs=("in/a\nsummary {}\x1b[31m.parquet",))
    assert named.model is not None
    named.model["source"] = "model\u202e\nforged 1"
    lines = named.to_text("out\x85forged 2").splitlines()
    assert lines[0].endswith(r"in out\x85forged 2/")
    assert [line for line in lines if line.startswith("late ")] == [
        r"late         1 file not labelled: added after the input was listed; first in/a\nsummary {}\x1b[31m.parquet"
    ]
    assert not [line for line in lines if line.startswith(("summary", "forged")) or not line.isprintable()]
