"""Every cell of `examples/*.ipynb` runs, in order, and gives the output that is stored below it.

The test runs the cells as one program, without Jupyter. A cell shows the value of its last line as Jupyter does: as
text, and as HTML if the value has some. To store the outputs again: `jupyter execute --inplace examples/NAME.ipynb`.
"""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import pytest

EXAMPLES: Final = Path(__file__).parent.parent / "examples"
Cell = dict[str, Any]


def outputs_of(cell: Cell, names: dict[str, Any]) -> list[Cell]:
    """Run a cell with the `names` of those before it; its outputs, in the notebook's format."""
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "cell", "exec"), names)  # noqa: S102  (our own notebook)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None  # noqa: S307
    return [*stream(printed.getvalue()), *shown(value)]


def stream(printed: str) -> Iterator[Cell]:
    if printed:
        yield {"output_type": "stream", "name": "stdout", "text": printed}


def shown(value: Any) -> Iterator[Cell]:
    if value is not None:
        data = {"text/plain": repr(value)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_()
        yield {"output_type": "execute_result", "data": data}


def joined(output: Cell) -> Cell:
    """A stored output as `outputs_of` gives it: its lines are one text, and it has no counter and no metadata."""
    if output["output_type"] == "stream":
        return {**output, "text": "".join(output["text"])}
    data = {kind: "".join(lines) for kind, lines in output["data"].items()}
    return {"output_type": output["output_type"], "data": data}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_cell_gives_its_stored_output(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        stored = [joined(output) for output in cell["outputs"]]
        assert outputs_of(cell, names) == stored, "store the outputs again: " + "".join(cell["source"])
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "store the outputs of one run"
    assert sum(bool(cell["outputs"]) for cell in cells) >= 4
