"""The examples of docs/reference/python-api.md are true: they run, in order, as one program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "python-api.md"


@pytest.mark.computes
@pytest.mark.usefixtures("one_thread")
def test_the_examples_run_as_they_stand() -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)  # noqa: S102  (the page's own)
    assert len(examples) > 3
    assert names["same"] is True
