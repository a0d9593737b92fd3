"""The processor is read as the kernel lists it."""

from __future__ import annotations

import pytest

from albert_infer.engine.processor import cpu_flags, cpu_vendor, mkl_is_slow


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
