"""No forward pass waits for the device, by what the source says; a card shows the rest (`test_gpu.py`)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import albert_infer.engine

ENGINE: Final = Path(albert_infer.engine.__file__).parent
# Copies to the device and back are made here, and nowhere else in a pass.
TRANSFERS: Final = "devices.py"
# Weights are loaded once, before the first pass.
LOADING: Final = "weights.py"
# Each of these waits for all earlier work of a GPU.
WAITS: Final = {"item", "tolist", "cpu", "numpy", "cuda", "nonzero", "synchronize"}
# After an error of the device a wait costs nothing.
AFTER_AN_ERROR: Final = {("faults.py", "synchronize")}


def modules() -> Iterator[Path]:
    """The modules that a pass on a GPU runs through."""
    for path in sorted(ENGINE.rglob("*.py")):
        if ENGINE / "cpu" not in path.parents and path.name not in (TRANSFERS, LOADING):
            yield path


def calls(path: Path) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))


def copies_to_a_device(call: ast.Call) -> bool:
    """Whether a call moves a tensor, or makes one from numbers of the host on a device."""
    name, told = ast.unparse(call.func), [ast.unparse(each) for each in (*call.args, *call.keywords)]
    names_a_device = any("device" in word or "cuda" in word for word in told)
    is_move = isinstance(call.func, ast.Attribute) and call.func.attr == "to"
    return names_a_device and (is_move or name in {"torch.tensor", "torch.as_tensor", "torch.asarray"})


def test_only_to_device_copies_from_the_host_in_a_pass() -> None:
    assert [
        f"{path.name}: {ast.unparse(call)}" for path in modules() for call in calls(path) if copies_to_a_device(call)
    ] == []


def test_no_module_of_a_pass_asks_the_device_for_a_number() -> None:
    waits = {
        (path.name, call.func.attr)
        for path in modules()
        for call in calls(path)
        if isinstance(call.func, ast.Attribute) and call.func.attr in WAITS
    }
    # A fit on the host before the first pass, and the reference of the kernels, which no card runs.
    assert waits - AFTER_AN_ERROR <= {("activations.py", "numpy"), ("passes.py", "tolist")}


def test_the_host_sleeps_while_it_waits_for_logits() -> None:
    events = [call for call in calls(ENGINE / TRANSFERS) if ast.unparse(call.func) == "torch.cuda.Event"]
    assert [ast.unparse(event) for event in events] == ["torch.cuda.Event(blocking=True)"]
