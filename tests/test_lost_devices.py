"""A worker ends its process if its GPU is lost, after one line about it, and for no other error."""

from __future__ import annotations

import pytest
import torch

from albert_infer.pipeline.lost_devices import ending_with_the_device

LOST = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be late")


def ended_by(error: Exception) -> tuple[list[str], list[int]]:
    """What was told, and the exit codes with which the process would have ended; the error leaves if there are none."""
    told: list[str] = []
    exit_codes: list[int] = []
    with pytest.raises(type(error)), ending_with_the_device(told.append, exit_codes.append):
        raise error
    return told, exit_codes


# Without a card the device does not answer, as a lost one does not.
@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU is there, and answers")
def test_a_lost_gpu_ends_the_process_after_one_line() -> None:
    (line,), exit_codes = ended_by(LOST)
    assert line.startswith("AcceleratorError: CUDA error: an illegal memory access was encountered CUDA kernel errors")
    assert exit_codes == [1]


@pytest.mark.parametrize(
    "error", [ValueError("a wrong row"), RuntimeError("shapes differ"), torch.OutOfMemoryError("full")], ids=str
)
def test_another_error_leaves_the_process_as_it_is(error: Exception) -> None:
    assert ended_by(error) == ([], [])


def test_a_block_without_an_error_tells_nothing() -> None:
    told: list[str] = []
    with ending_with_the_device(told.append):
        pass
    assert told == []
