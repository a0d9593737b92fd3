"""What a card computes in, whether torch can use it, and what is refused: by what a worker says of its card."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import ray.util.accelerators
import torch
from pairs import settings_for

from albert_infer.config import LabelSettings
from albert_infer.engine.cards import CAPABILITY_OF_KIND, Capability, Card, driver_version, has_code
from albert_infer.engine.devices import card_here, gpus_here, usable_device
from albert_infer.engine.processor import refuse_mixed_cards, resolved_precision
from albert_infer.errors import DeviceError, SettingsError
from albert_infer.schema import DeviceKind, Precision

CPU, CUDA = DeviceKind.CPU, DeviceKind.CUDA
# What torch 2.13 for CUDA 13 has code for.
ARCHITECTURES: Final = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
A100: Final = Card(
    name="NVIDIA A100-SXM4-80GB",
    capability=(8, 0),
    memory_bytes=80 << 30,
    l2_bytes=40 << 20,
    processors=108,
    driver="580.65.06",
    torch="2.13.0+cu130",
    cuda="13.0",
    architectures=ARCHITECTURES,
    machine="node-7",
)
T4: Final = replace(A100, name="Tesla T4", capability=(7, 5), memory_bytes=15 << 30, l2_bytes=4 << 20, processors=40)
V100: Final = replace(A100, name="Tesla V100", capability=(7, 0))
OLD_DRIVER: Final = Card(driver="535.104.05", torch="2.13.0+cu130", cuda="13.0", machine="node-7")
BROKEN: Final = replace(OLD_DRIVER, driver="580.65.06", fault="CUDA error: unknown error")
NO_CUDA: Final = Card(torch="2.13.0+cpu", machine="node-7")


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((7, 0), False),
        ((7, 5), True),
        ((8, 0), True),
        ((8, 6), True),
        # Code for 8.6 runs on 8.9, as on all later cards of its major number.
        ((8, 9), True),
        ((9, 0), True),
        # Neither machine code nor code for the driver to compile.
        ((11, 0), False),
        ((12, 1), True),
        ((13, 0), True),
    ],
)
def test_a_card_is_usable_if_torch_has_code_for_it(capability: Capability, runs: bool) -> None:
    assert has_code(capability, ARCHITECTURES) == runs
    assert bool(replace(A100, capability=capability).obstacle) != runs


def test_code_for_one_card_alone_runs_on_no_other() -> None:
    assert has_code((9, 0), ("sm_90a",))
    assert not has_code((9, 1), ("sm_90a", "compute_90a", "gfx90a"))


@pytest.mark.parametrize(
    ("card", "told"),
    [
        (V100, ["code for sm_75, sm_80", "Tesla V100 of capability 7.0, driver 580.65.06", "built for this card"]),
        (OLD_DRIVER, ["torch 2.13.0+cu130 finds no CUDA device", "driver 535.104.05", "CUDA 13.0 needs 580 or later"]),
        (NO_CUDA, ["torch 2.13.0+cpu", "no NVIDIA driver", "install a torch with CUDA"]),
        (BROKEN, ["cannot start the CUDA device", "driver 580.65.06", "CUDA error: unknown error"]),
    ],
    ids=["no code", "old driver", "no CUDA", "broken"],
)
def test_a_planned_gpu_that_is_not_usable_ends_with_4_and_says_why_and_what_to_do(card: Card, told: list[str]) -> None:
    with pytest.raises(DeviceError) as refused:
        usable_device(CUDA, Precision.FP32, allow_cpu=False, card=card)
    assert refused.value.exit_code == 4
    for words in ("node-7", *told, "--allow-cpu"):
        assert words in str(refused.value)
    assert usable_device(CUDA, Precision.FP32, allow_cpu=True, card=card) is CPU


def test_a_gpu_that_is_usable_is_used_and_a_planned_cpu_asks_for_no_card() -> None:
    assert usable_device(CUDA, Precision.BF16, allow_cpu=True, card=A100) is CUDA
    assert usable_device(CPU, Precision.INT8, allow_cpu=False, card=OLD_DRIVER) is CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU is there")
def test_without_a_gpu_this_machine_says_so() -> None:
    card = card_here()
    assert (card.name, card.torch) == ("", torch.__version__)
    assert type(card.torch) is str, "torch's class would load torch in the driver"
    assert "finds no CUDA device" in card.obstacle


@pytest.mark.skipif(torch.version.cuda is not None, reason="torch counts the GPUs itself")
def test_gpus_that_a_torch_without_cuda_cannot_find_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus_here(tmp_path) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_here(tmp_path) == 0


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("something else\n", ""),
        (None, ""),
    ],
)
def test_the_driver_is_read_from_the_kernel(tmp_path: Path, text: str | None, version: str) -> None:
    file = tmp_path / "version"
    if text is not None:
        file.write_text(text)
    assert driver_version(file) == version


@pytest.mark.parametrize(
    ("asked", "card", "precision"),
    [
        ("auto", A100, Precision.BF16),
        ("auto", T4, Precision.FP16),
        ("auto", replace(A100, capability=(6, 1)), Precision.FP32),
        ("fp16", A100, Precision.FP16),
        ("fp32", T4, Precision.FP32),
        ("bf16", A100, Precision.BF16),
        ("fp8", replace(A100, capability=(8, 9)), Precision.FP8),
        ("fp8", replace(A100, capability=(9, 0)), Precision.FP8),
    ],
)
def test_auto_is_what_the_card_multiplies_in(asked: str, card: Card, precision: Precision) -> None:
    assert resolved_precision(asked, CUDA, frozenset(), card) == precision


@pytest.mark.parametrize(
    ("asked", "device", "card", "message"),
    [
        ("bf16", CUDA, T4, "Tesla T4 of capability 7.5.*give --precision fp16"),
        ("fp16", CUDA, replace(A100, capability=(6, 1)), "give --precision fp32"),
        ("fp16", CPU, None, "fp16 is for GPUs"),
        ("fp8", CPU, None, "fp8 is for GPUs"),
        ("fp8", CUDA, A100, "A100.* of capability 8.0.*give --precision bf16"),
        ("int8", CUDA, A100, "int8 is for CPUs"),
    ],
)
def test_a_precision_that_the_device_does_not_compute_in_is_refused(
    asked: str, device: DeviceKind, card: Card | None, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        resolved_precision(asked, device, frozenset(), card)


def test_a_worker_whose_card_does_not_compute_in_the_planned_precision_ends_the_run() -> None:
    with pytest.raises(DeviceError, match=r"precision bf16 on node-7: .*Tesla T4.* in fp16; give --precision fp16"):
        usable_device(CUDA, Precision.BF16, allow_cpu=True, card=T4)
    assert usable_device(CUDA, Precision.FP16, allow_cpu=False, card=A100) is CUDA


@pytest.mark.parametrize(
    ("asked", "kinds", "message"),
    [
        ("auto", {"A100", "T4"}, r"A100 \(bf16\), T4 \(fp16\); give --precision fp16"),
        ("auto", {"H200", "P100"}, "give --precision fp32"),
        ("bf16", {"A10G", "T4", "V100"}, "do not compute in it: T4, V100; give --precision fp16"),
        ("fp16", {"P4"}, "give --precision fp32"),
        ("fp8", {"A100", "H100"}, "do not compute in it: A100; give --precision bf16"),
    ],
)
def test_a_cluster_whose_cards_differ_in_precision_is_refused(asked: str, kinds: set[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        refuse_mixed_cards(asked, kinds)


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        ("auto", {"A100", "L4", "H200"}),
        ("auto", {"T4", "V100"}),
        ("auto", {"T4", "a card of next year"}),
        ("auto", set[str]()),
        ("fp16", {"A100", "T4"}),
        ("fp32", {"A100", "P100"}),
    ],
)
def test_a_cluster_whose_cards_share_a_precision_is_taken(asked: str, kinds: set[str]) -> None:
    refuse_mixed_cards(asked, kinds)


def test_the_kinds_are_those_that_ray_names() -> None:
    names = vars(ray.util.accelerators)
    nvidia = {str(value) for name, value in names.items() if name.startswith("NVIDIA_")}
    assert nvidia - CAPABILITY_OF_KIND.keys() == set(), "Ray has a new kind: give it a row"


def test_the_settings_name_every_precision() -> None:
    field = LabelSettings.model_fields["precision"]
    assert set(re.findall(r"'(\w+)'", str(field.annotation))) == {"auto", *Precision}
    assert settings_for(Path("in"), allow_cpu=True).allow_cpu
