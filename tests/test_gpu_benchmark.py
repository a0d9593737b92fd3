"""The benchmark of a card goes on after a failure, names what it cut, and runs where only torch and tokenizers are."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import rivals
from benchmarks.gpu.bench import random_pairs
from benchmarks.gpu.figures import Figure, SkippedError, Verdict
from benchmarks.gpu.kernel_times import kind_of
from benchmarks.gpu.running import Outcome, Run, Step, outcomes_in

ROOT: Final = Path(__file__).parents[1]
# The machine has torch, transformers, tokenizers, pyarrow, safetensors and numpy, and nothing else of the project.
NOT_THERE: Final = ("ray", "pydantic", "cyclopts", "rich", "s3fs", "botocore", "aiobotocore", "sentencepiece", "pytest")
DRY_SECONDS: Final = 60.0


def failing() -> Sequence[Figure]:
    raise ValueError("the card is on fire")


def skipping() -> Sequence[Figure]:
    raise SkippedError("this engine has no fp8")


def run_of(tmp_path: Path, *, budget: float = 100.0, card: bool = True) -> Run:
    return Run(budget, card, {"machine": "m"}, json_file=tmp_path / "out.json")


def step_of(name: str, value: float, **bar: float | bool) -> Step:
    return Step(name, "", lambda: [Figure(name, value, **bar)], 1.0)  # type: ignore[arg-type]


def test_a_failing_step_costs_only_itself_and_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Step("bad", "", failing), Step("none", "", skipping), step_of("good", 2.0, least=1.0)]
    assert run_of(tmp_path).take(steps) == 1
    written = json.loads((tmp_path / "out.json").read_text())
    assert [step["verdict"] for step in written["steps"]] == ["FAIL", "SKIP", "PASS"]
    assert written["steps"][0]["reason"] == "ValueError: the card is on fire"
    printed = capsys.readouterr().out
    assert "FAIL in 0.0 s: ValueError: the card is on fire" in printed
    assert "SKIP in 0.0 s: this engine has no fp8" in printed
    assert printed.splitlines()[-2:] == ["FAIL: bad", "SKIP: none"]


def test_steps_that_pass_or_are_skipped_or_have_no_bar_end_with_0(tmp_path: Path) -> None:
    steps = [Step("none", "", skipping), step_of("good", 0.5, most=1.0), step_of("shown", 3.0)]
    run = run_of(tmp_path)
    assert run.take(steps) == 0
    assert outcomes_in(tmp_path / "out.json") == run.outcomes


@pytest.mark.parametrize("value", [0.9, math.nan])
def test_a_missed_bar_is_a_miss(tmp_path: Path, value: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_of(tmp_path).take([step_of("slow", value, least=1.0)]) == 1
    assert "at least 1           MISS" in capsys.readouterr().out


def test_a_bar_of_a_card_is_not_applied_on_a_cpu(tmp_path: Path) -> None:
    step = step_of("slow", 0.9, least=1.0, on_card=True)
    assert run_of(tmp_path, card=False).take([step]) == 0
    assert run_of(tmp_path, card=True).take([step]) == 1


def test_a_step_that_does_not_fit_the_budget_is_cut_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [Step("long", "", failing, about_seconds=200.0), step_of("short", 1.0)]
    assert run_of(tmp_path, budget=100.0).take(steps) == 0
    printed = capsys.readouterr().out
    assert "CUT in 0.0 s: 100 s are left, and the step takes about 200 s" in printed
    assert "CUT: long" in printed


def test_after_an_error_that_breaks_the_device_a_new_process_runs_the_other_steps(tmp_path: Path) -> None:
    elsewhere: list[tuple[Sequence[str], float]] = []

    def in_new_process(names: Sequence[str], seconds: float) -> Sequence[Outcome]:
        elsewhere.append((names, seconds))
        return [Outcome(name, "", Verdict.PASS) for name in names]

    run = run_of(tmp_path)
    run.device_works, run.in_new_process = lambda: False, in_new_process
    assert run.take([step_of("first", 1.0), Step("bad", "", failing), step_of("a", 1.0), step_of("b", 1.0)]) == 1
    [(names, seconds)] = elsewhere
    assert (list(names), seconds > 90) == (["a", "b"], True)
    assert [outcome.name for outcome in outcomes_in(tmp_path / "out.json")] == ["first", "bad", "a", "b"]


def test_a_process_that_wrote_nothing_has_no_outcomes(tmp_path: Path) -> None:
    assert outcomes_in(tmp_path / "missing.json") == []


def test_kernels_are_known_by_their_names() -> None:
    names = {
        "void flash::flash_fwd_kernel<...>": "attention",
        "sm90_xmma_gemm_bf16bf16_bf16f32": "products",
        "nvjet_hsh_256x128_64x4": "products",
        "void at::native::vectorized_layer_norm_kernel": "norms",
        "GeluCUDAKernelImpl": "activations",
        "Memcpy HtoD (Pinned -> Device)": "copies",
        "void at::native::vectorized_elementwise_kernel<4, CUDAFunctor_add>": "sums and others",
    }
    assert {name: kind_of(name) for name in names} == names


@pytest.mark.parametrize("one_length", [False, True])
def test_padded_batches_hold_every_token_once(one_length: bool) -> None:
    encoded = random_pairs(np.array([5, 3, 9, 3, 5, 5, 5]), 100)
    batches = rivals.padded_batches(encoded, 3, torch.device("cpu"), one_length=one_length)
    assert sum(len(batch["input_ids"]) for batch in batches) == 7
    assert max(len(batch["input_ids"]) for batch in batches) <= 3
    rows = [
        tuple(ids[mask.bool()].tolist())
        for batch in batches
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert sorted(rows) == sorted(
        tuple(encoded.input_ids[begin:end].tolist())
        for begin, end in zip(encoded.offsets, encoded.offsets[1:], strict=False)
    )
    if one_length:
        assert all(batch["attention_mask"].all() for batch in batches)
    [segments] = [batch["token_type_ids"][0].tolist() for batch in batches if batch["input_ids"].shape[1] == 9]
    row = int(np.argmax(encoded.lengths))
    assert sum(segments) == 9 - encoded.premise_segment_tokens[row]


@pytest.mark.process
def test_every_step_runs_on_a_cpu_where_nothing_else_of_the_project_is_installed(tmp_path: Path) -> None:
    written = tmp_path / "out.json"
    script = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({NOT_THERE}))  # an import of None is refused
sys.argv = ["gpu", "--dry", "--json", {str(written)!r}]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    steps = {step["name"]: step for step in json.loads(written.read_text())["steps"]}
    assert list(steps) == [name for name, _, _ in gpu.STEPS]
    may_skip = {"fused", "fp8", "cross-encoder"}
    assert {name for name, step in steps.items() if step["verdict"] == "SKIP"} <= may_skip
    assert sum(step["seconds"] for step in steps.values()) < DRY_SECONDS
    assert {
        name for name in ("attention", "logits", "determinism", "many-rows") if steps[name]["verdict"] != "PASS"
    } == set()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_card_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "give --dry" in capsys.readouterr().err
