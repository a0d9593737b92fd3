"""The processor is read as the kernel lists it."""

from __future__ import annotations

from pathlib import Path

import pytest

from albert_infer.engine.processor import cpu_flags, cpu_vendor, cpus_here, mkl_is_slow


def test_the_flags_of_the_processor_are_single_words() -> None:
    assert all(flag and not flag.isspace() and " " not in flag for flag in cpu_flags())


def test_the_vendor_of_the_processor_is_one_word() -> None:
    assert cpu_vendor() == cpu_vendor().strip()
    assert " " not in cpu_vendor()


@pytest.mark.parametrize(
    ("flags", "vendor", "slow"),
    [
        ({"avx2", "avx512f"}, "AuthenticAMD", True),
        ({"avx2", "avx512f"}, "GenuineIntel", False),
        ({"avx2"}, "AuthenticAMD", False),
        (set(), "", False),
    ],
)
def test_mkl_is_slow_where_it_leaves_half_of_the_vectors_unused(flags: set[str], vendor: str, *, slow: bool) -> None:
    assert mkl_is_slow(frozenset(flags), vendor) is slow


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
    ],
)
def test_a_containers_quota_limits_the_cpus(files: dict[str, str], cpus: int, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpus_here(tmp_path, affinity=frozenset(range(64))) == cpus
