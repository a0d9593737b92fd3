"""The processor's instruction sets are read as the kernel lists them."""

from __future__ import annotations

from albert_infer.processor import cpu_flags


def test_the_flags_of_the_processor_are_single_words() -> None:
    assert all(flag and not flag.isspace() and " " not in flag for flag in cpu_flags())
