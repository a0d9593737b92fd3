"""An independent recount of a published run, from its files alone.

Shares no code with the steps that published, because it has to find their errors: it has its own reading of `_SUCCESS`,
of the plan, of every file and of what is input. It shares names, closed lists and the access to storage, one by one in
`tests/test_layering.py`. What it cannot see: whether a label is right, which takes the model, and,
unless it is given the input, whether the rows are those of the input and in their order.
"""

from __future__ import annotations

from albert_infer.verification.input_files import is_input
from albert_infer.verification.verifying import verify_labels

__all__ = ["is_input", "verify_labels"]
