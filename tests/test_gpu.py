"""What only a card shows of the engine. Needs torch, transformers, tokenizers, pyarrow and pytest, and nothing else."""
# ruff: noqa: N806 - arrays end in their shape

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from checkpoints import Checkpoint, random_checkpoint
from test_engine import VECTOR_SIZES, engine_of, largest_difference, logits_of, random_pairs

from albert_infer.engine.albert import AlbertEngine
from albert_infer.engine.devices import HostCopy, card_here, to_device
from albert_infer.engine.faults import is_device_lost, is_out_of_memory
from albert_infer.model.checkpoint import load_checkpoint
from albert_infer.preflight import numbers
from albert_infer.schema import DeviceKind, EncodedPairs, Precision
from benchmarks import limit

ROOT: Final = Path(__file__).parents[1]
# Modules whose tests of the mark `gpu` run with the packages above.
MODULES: Final = ("tests/test_gpu.py", "tests/test_engine.py")
# A machine for a check of a card has none of these.
MISSING: Final = (
    *("ray", "pydantic", "cyclopts", "hypothesis", "fsspec", "s3fs", "boto3", "botocore", "aiohttp", "sentencepiece"),
    *("pandas", "polars", "duckdb", "rich", "sklearn", "scipy", "sentence_transformers", "onnxruntime", "openvino"),
)
COLLECT: Final = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""

on_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
FLOATS: Final = (Precision.FP32, Precision.BF16, Precision.FP16)


@pytest.mark.process
def test_the_gpu_tests_are_collected_where_there_are_few_packages() -> None:
    asked = [*MODULES, "--collect-only", "--quiet", "-m", "gpu", "-p", "no:cacheprovider"]
    command = [sys.executable, "-c", COLLECT, ",".join(MISSING), *asked]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    outcome = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    collected = [line for line in outcome.stdout.splitlines() if "::" in line]
    assert len(collected) >= 20, outcome.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return random_checkpoint(tmp_path_factory.mktemp("albert"), **VECTOR_SIZES)


def usable(precision: Precision) -> Precision:
    if not card_here().computes_in(precision):
        pytest.skip(f"the card does not compute in {precision}")
    return precision


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize("precision", FLOATS)
def test_a_card_agrees_with_the_cpu_on_the_pairs_of_the_preflight(precision: Precision) -> None:
    usable(precision)
    checkpoint = load_checkpoint("builtin")
    engine, reference = (
        AlbertEngine(checkpoint.shape, checkpoint.weights, precision=each, device=device, threads=None)
        for each, device in ((precision, DeviceKind.CUDA), (Precision.FP32, DeviceKind.CPU))
    )
    compared = numbers.compare_numbers(checkpoint, engine, reference, max_length=40, device=DeviceKind.CUDA)
    assert compared.largest_difference < numbers.MAX_DIFFERENCE[precision] / 4


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize("precision", [*FLOATS, Precision.INT8])
def test_products_are_measured_on_a_card_in_every_precision(precision: Precision) -> None:
    shape = load_checkpoint("builtin").shape
    measured = limit.product_gflops(shape, 4096, precision, DeviceKind.CUDA)
    assert all(gflops > 100 for gflops in measured.values())


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize("precision", FLOATS)
def test_no_pass_waits_for_the_card(checkpoint: Checkpoint, precision: Precision) -> None:
    engine = engine_of(checkpoint, usable(precision), device="cuda")
    pairs, rows = random_pairs((7, 7, 13, 64, 65, 90)), [np.arange(6)]
    # Modules are loaded in the first pass.
    expected_RC = engine.logits(pairs, rows)
    torch.cuda.set_sync_debug_mode("error")
    try:
        (batch,) = engine.micro_batch_logits(pairs, rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(batch.logits_BC, expected_RC[batch.rows_B])


@pytest.mark.gpu
@on_a_card
def test_pinned_memory_is_used_again(checkpoint: Checkpoint) -> None:
    engine, pairs = engine_of(checkpoint, device="cuda"), random_pairs((12,) * 500)
    logits_of(engine, pairs, max_batch_tokens=600)
    allocated = torch.cuda.host_memory_stats()["num_host_alloc"]
    logits_of(engine, pairs, max_batch_tokens=600)
    assert torch.cuda.host_memory_stats()["num_host_alloc"] == allocated


@pytest.mark.gpu
@on_a_card
def test_the_host_sleeps_while_the_card_computes() -> None:
    matrix = torch.randn(8192, 8192, device="cuda")
    (matrix @ matrix).sum().item()
    cpu, wall = time.process_time(), time.monotonic()
    for _ in range(40):
        product = matrix @ matrix
    HostCopy(product[:1]).array()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    assert wall > 0.1
    assert cpu < wall / 2


@pytest.mark.gpu
@on_a_card
def test_more_rows_than_attention_takes_are_computed(checkpoint: Checkpoint) -> None:
    rows = 70_000
    pairs = EncodedPairs(np.ones(3 * rows, np.int32), np.arange(0, 3 * rows + 1, 3), np.full(rows, 2, np.int32))
    precision = Precision.BF16 if card_here().computes_in(Precision.BF16) else Precision.FP16
    logits_RC = engine_of(checkpoint, precision, device="cuda").logits(pairs, [np.arange(rows)])
    assert largest_difference(logits_RC, logits_RC[:1]) == 0


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize("precision", FLOATS)
def test_the_same_call_gives_the_same_bits_on_a_card(checkpoint: Checkpoint, precision: Precision) -> None:
    engine, pairs = engine_of(checkpoint, usable(precision), device="cuda"), random_pairs((7, 90, 3, 64, 65, 13) * 20)
    first_RC = logits_of(engine, pairs, max_batch_tokens=700)
    np.testing.assert_array_equal(logits_of(engine, pairs, max_batch_tokens=700), first_RC)


@pytest.mark.gpu
@on_a_card
def test_the_errors_of_a_full_card_are_known() -> None:
    too_much = torch.cuda.get_device_properties(0).total_memory * 2
    with pytest.raises(RuntimeError) as full:
        torch.empty(too_much, dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(full.value)
    assert not is_device_lost(full.value)
    with pytest.raises(RuntimeError) as unpinned:
        torch.empty(1 << 46, dtype=torch.uint8, pin_memory=True)
    assert is_out_of_memory(unpinned.value)


LOSE: Final = """
import torch
from albert_infer.engine.faults import is_device_lost
table = torch.zeros(4, device="cuda")
try:
    table[torch.full((4,), 9, device="cuda")].sum().item()
except RuntimeError as error:
    print(type(error).__name__, is_device_lost(error))
"""


@pytest.mark.gpu
@pytest.mark.process
@on_a_card
def test_a_card_that_this_process_has_lost_is_known() -> None:
    command = [sys.executable, "-c", LOSE]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    outcome = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert outcome.stdout.split()[-1:] == ["True"], outcome.stdout + outcome.stderr


@pytest.mark.gpu
@on_a_card
def test_numbers_come_to_the_card_as_they_are() -> None:
    array = np.arange(100_000, dtype=np.int32)
    copies = [to_device(array + number, torch.device("cuda")) for number in range(20)]
    for number, copy in enumerate(copies):
        np.testing.assert_array_equal(copy.cpu().numpy(), array + number)
